"""The benchmark of forms measures the arithmetic that the service runs."""

from app.sessions import PRECISIONS
from bench.forms import PROVIDERS


def test_float32_on_a_card_is_that_of_the_service() -> None:
    _, options_for, _ = PROVIDERS["cuda"]
    assert PRECISIONS["cuda"]["float32"].items() <= options_for(1).items()
