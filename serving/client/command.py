"""`cnn-tf predict`: classifies picture files with a server."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from serving.client import pictures
from serving.client.core import DEFAULT_TIMEOUT
from serving.client.pictures import Answer
from serving.client.predict import PredictClient


def predict(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Picture files, folders, or quoted patterns.")],
    server: Annotated[str, typer.Option(help="The server's gRPC address.")] = "localhost:8500",
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "fashion_mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON list instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV instead of a table.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per request.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a request may take.")] = DEFAULT_TIMEOUT,
) -> None:
    """Classify pictures with a running server. Exit code 1 if any file could not be classified.

    Example: cnn-tf predict --server localhost:8500 photos/ boot.png 'more/*.jpg' --csv
    """
    if as_json and as_csv:
        raise pictures.WrongUse("Pass either --json or --csv. Received: both.")
    pictures.require_address(server)
    files = pictures.find(paths)
    console = _console(stderr=True)
    with PredictClient(server, model, timeout=timeout) as client:
        pictures.require_signature(client)
        answers = pictures.classify(client, files, batch_size)
        silent = len(files) == 1 or not console.is_terminal
        shown = track(answers, "Classifying", total=len(files), console=console, transient=True, disable=silent)
        results = list(shown)
    write = _write_json if as_json else _write_csv if as_csv else _write_table
    write(results)
    failed = [answer for answer in results if answer.error]
    for answer in failed:
        console.print(_printable(f"{answer.path}: {answer.error}"), style="red", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _console(**options: Any) -> Console:
    """Plain: names of files and classes may look like markup."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def _write_table(answers: Iterable[Answer]) -> None:
    table = Table(Column("file", overflow="fold"), "class", Column("probability", justify="right"), "next best")
    for answer in answers:
        if answer.top:
            (label, probability), *others = answer.top
            rest = ", ".join(f"{name} {share:.1%}" for name, share in others[:2])
            table.add_row(_printable(str(answer.path)), _printable(label), f"{probability:.1%}", _printable(rest))
    if table.row_count:
        # In a file or pipe there is no width to fit into.
        _console(width=None if sys.stdout.isatty() else 200).print(table)


def _printable(text: str) -> str:
    """Without control characters, which a file's name may hold and a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _write_json(answers: Iterable[Answer]) -> None:
    rows = [
        {"file": str(a.path), "error": a.error}
        if a.error
        else {
            "file": str(a.path),
            "class": a.top[0][0],
            "probability": a.top[0][1],
            "top": [{"class": label, "probability": share} for label, share in a.top],
            "version": a.version,
        }
        for a in answers
    ]
    json.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _write_csv(answers: Iterable[Answer]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "probability", "error"])
    for answer in answers:
        best = answer.top[0] if answer.top else ("", "")
        writer.writerow([answer.path, *best, answer.error or ""])
