"""Commands that are others' own: what follows their name is theirs, ``--help`` too."""

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence

import typer

OTHERS = {
    "prepare": ("training.prepare", "Look at pictures, or make them what training sees."),
    "train": ("training.train", "Train a generator on a folder of pictures."),
    "evaluate": ("training.evaluate", "Measure the quality of a run or of a model file."),
    "report": ("training.report.__main__", "Show how a run went, as a page."),
    "export": ("export.to_onnx", "Turn a run into a model file."),
    "convert": ("export.convert", "Write a model file in another form or arithmetic."),
}
"""Modules by the names of the commands; they are loaded by name, for they need torch and this does not."""


def serve(context: typer.Context) -> int:
    """Serve a model file, or a folder of them: serve [MODEL] [--port …]; takes the flags of python -m app."""
    from app.__main__ import main  # noqa: PLC0415 - the service, for who wants to serve
    from app.settings import Settings  # noqa: PLC0415

    sys.argv[1:] = name_model(context.args)
    Settings.model_config["cli_prog_name"] = "seedling serve"
    return main()


def forward(name: str) -> Callable[[typer.Context], int]:
    """Returns the command that is another's."""
    module, about = OTHERS[name]

    def command(context: typer.Context) -> int:
        sys.argv = [f"seedling {name}", *context.args]
        main = importlib.import_module(module).main
        code: int = importlib.import_module("training.cli").run_cli(main)
        return code

    command.__doc__ = about
    return command


def name_model(arguments: Sequence[str]) -> list[str]:
    """Returns the service's flags, where MODEL, wherever it stands, is one too."""
    rest = iter(arguments)
    return list(itertools.chain.from_iterable(_flag(argument, rest) for argument in rest))


def _flag(argument: str, rest: Iterator[str]) -> list[str]:
    from app.settings import Settings  # noqa: PLC0415 - as above

    if not argument.startswith("-"):
        return ["--model", argument]
    known = Settings.model_fields.get(argument.removeprefix("--").replace("-", "_"))
    takes_value = known is not None and known.annotation is not bool
    return [argument, *itertools.islice(rest, takes_value)]
