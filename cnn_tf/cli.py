"""The command `cnn-tf`: the commands of the three packages under one name, each imported only when it is used."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import typer

from cnn_tf import console

HELP = """From a folder of pictures to a TensorFlow Serving endpoint.

The main job at once is `cnn-tf demo`; step by step it is prepare, train, evaluate, export, serve, predict.
Each command has its own --help with an example. Exit codes: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C or SIGTERM.
"""


class Command(NamedTuple):
    """A sub-command: where its function is, the extra of the package that it needs, and its line in the help."""

    function: str
    extra: str
    help: str


# A name of two words is a command in a group.
COMMANDS = {
    "demo": Command(
        "cnn_tf.demo:demo", "all", "Do the whole main job on Fashion-MNIST: pictures to served predictions."
    ),
    "prepare": Command(
        "pipelines.data_commands:prepare", "train", "Make a data set of any pile of pictures, faults named."
    ),
    "data show": Command("pipelines.data_commands:show", "train", "Draw examples of a data set, augmented or not."),
    "data dispatcher": Command(
        "pipelines.data_service:dispatcher",
        "train",
        "Share the work on training data: start the one who hands it out.",
    ),
    "data worker": Command(
        "pipelines.data_service:worker", "train", "Share the work on training data: start a worker."
    ),
    "train": Command("pipelines.commands:train", "train", "Train a model, or go on where a training stopped."),
    "evaluate": Command("pipelines.commands:evaluate", "train", "Measure a trained model and write a report."),
    "export": Command("pipelines.commands:export", "train", "Publish a trained model for TensorFlow Serving."),
    "verify": Command("pipelines.release_commands:verify", "train", "Compare exported versions with their checksums."),
    "release list": Command("pipelines.release_commands:list_releases", "train", "Show a model's versions and labels."),
    "release promote": Command("pipelines.release_commands:promote", "train", "Give a version a label."),
    "release rollback": Command(
        "pipelines.release_commands:rollback", "train", "Give the label stable back to the version before."
    ),
    "release prune": Command("pipelines.release_commands:prune", "train", "Remove old versions."),
    "release publish": Command(
        "pipelines.release_commands:publish",
        "train",
        "Copy a version to a bucket or a folder, as a whole or not at all.",
    ),
    "serve": Command("cnn_tf.cli:serve", "server", "Serve exported models over gRPC and REST."),
    "predict": Command("serving.client.command:predict", "bulk", "Classify pictures with a running server."),
    "bench-client": Command(
        "serving.client.bench.command:bench_client",
        "client",
        "Measure how many requests a server answers, and how soon.",
    ),
    "import-weights": Command(
        "pipelines.commands:import_weights",
        "train",
        "Make a run of weights from torchvision, timm or keras.applications.",
    ),
    "models": Command("cnn_tf.listing:models", "train", "List the architectures."),
    "describe": Command("cnn_tf.listing:describe", "train", "Show a network layer by layer, or draw it."),
}

GROUPS = {
    "data": "Look at a data set, or share the work on it between machines.\n\nExample: cnn-tf data show fashion_mnist",
    "release": "Choose which versions are served as stable and canary, and where.\n\n"
    "Example: cnn-tf release promote fashion_mnist 4",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with 0 done, 1 failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before gRPC is imported: it writes what it also raises
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    console.reporting_errors(app, debug=debug)(_chosen(arguments), debug)(arguments)


def _chosen(arguments: Sequence[str]) -> str | None:
    """The command that the arguments name."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    return next((name for count in (2, 1) if (name := " ".join(words[:count])) in COMMANDS), None)


def app(chosen: str | None, debug: bool = False) -> typer.Typer:
    """All commands; only `chosen` is imported, the others are there for the help."""
    style: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False, "rich_markup_mode": None}
    typer_app = typer.Typer(help=HELP, add_completion=False, **style)
    typer_app.callback()(_options)
    groups = {group: typer.Typer(help=text, **style) for group, text in GROUPS.items()}
    for group, group_app in groups.items():
        typer_app.add_typer(group_app, name=group)
    for full_name, command in COMMANDS.items():
        group, _, name = full_name.rpartition(" ")
        function = _load(command) if full_name == chosen else _placeholder
        # The server parses its own flags, which are TensorFlow Serving's.
        raw = (
            {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
            if name == "serve"
            else {}
        )
        text = None if full_name == chosen else command.help
        owner = groups.get(group, typer_app)
        owner.command(name, help=text, context_settings=raw)(console.reporting_errors(function, debug=debug))
    return typer_app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cnn-tf {metadata.version('cnn-tf')}")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error; may stand anywhere."),
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Declared for the help; `main` takes --debug out wherever it stands."""


def _placeholder() -> None:
    """Stands for a command that was not chosen."""


def _load(command: Command) -> Callable[..., None]:
    """The command's function, which says what to install if a package is missing, now or when it runs."""
    module, _, name = command.function.partition(":")
    try:
        function: Callable[..., None] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as missing:
        raise MissingExtra(missing, command.extra) from missing

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except ModuleNotFoundError as missing:
            raise MissingExtra(missing, command.extra) from missing

    return wrapper


class MissingExtra(Exception):
    """A command needs packages that are not installed."""

    exit_code = console.FAILED

    def __init__(self, missing: ModuleNotFoundError, extra: str) -> None:
        super().__init__(
            f"{missing.name} is not installed. To install what this needs, in the checkout: pip install '.[{extra}]'"
        )


def serve(context: typer.Context) -> None:
    """Serve exported models over gRPC and REST."""
    from serving.server import main as server

    raise typer.Exit(server.main(context.args, "cnn-tf serve"))
