"""Trials by the hundred: 40 cases of a kind in ``make test``, 1,500 in ``make soak``."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Trial = Callable[[Any], None]

FEW, MANY = 40, 1500
"""Cases of a kind in ``make test``, and in ``make soak``."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Anything that JSON can say."""


def run(cases: int, strategy: st.SearchStrategy[Any], trial: Trial) -> int:
    """Tries as many cases, the same ones each time; returns how many there were."""
    count = 0

    def counted(case: Any) -> None:  # noqa: ANN401 - a case is what the strategy makes
        nonlocal count
        count += 1
        trial(case)

    wanted = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    wanted(given(strategy)(counted))()
    return count
