"""Reads what a service tells Prometheus."""

from collections.abc import Iterable

import httpx
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def families(client: httpx.Client) -> list[Metric]:
    """Returns the metrics of a service; the parser refuses what OpenMetrics does not allow."""
    answer = client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    return list(text_string_to_metric_families(answer.text))


def total(found: Iterable[Metric], name: str, **labels: str) -> float:
    """Returns the sum of the samples of a name that have the labels."""
    return sum(
        sample.value
        for family in found
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def values(found: Iterable[Metric], name: str, label: str) -> set[str]:
    """Returns the values that a label of a sample has."""
    return {sample.labels[label] for family in found for sample in family.samples if sample.name == name}
