"""One vocabulary: the client, the command and the API call everything the same."""

import inspect
from collections.abc import Callable
from typing import get_type_hints

import pytest

from app import parameters
from seedling import vocabulary
from seedling.cli.pictures import generate, interpolate


def test_the_vocabulary_is_the_api_s() -> None:
    def names(options: type) -> set[str]:
        return {name.rstrip("_") for name in get_type_hints(options)}

    assert names(vocabulary.PictureOptions) == {*parameters.PictureQuery.names().values(), "format"}
    assert names(vocabulary.PathOptions) | {"from", "to"} == set(parameters.PathQuery.names().values())
    for name in ("Method", "Easing", "Shape", "Still", "Motion"):
        assert getattr(vocabulary, name) == getattr(parameters, name)
    assert vocabulary.REPEATABLE == parameters.REPEATABLE


@pytest.mark.parametrize(
    ("command", "options"),
    [(generate, vocabulary.PictureOptions), (interpolate, vocabulary.PathOptions)],
)
def test_the_command_takes_all_of_it(command: Callable[..., None], options: type) -> None:
    taken = {name.rstrip("_") for name in inspect.signature(command).parameters}
    assert {name.rstrip("_") for name in get_type_hints(options)} <= taken
