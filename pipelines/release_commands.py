"""Commands on exported versions. None of them needs TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnn_tf import console


def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="models/NAME/VERSION, or models/NAME for all versions.")],
) -> None:
    """Compare every file of exported versions with its checksum; a line for each finding, and exit code 1 if there is one.

    Example: cnn-tf verify models/fashion_mnist/3
    """
    from pipelines import checksums

    damaged = False
    for version in _versions(path):
        found = checksums.findings(version)
        damaged = damaged or bool(found)
        for finding in found:
            typer.echo(f"{version}: {finding}")
        if not found:
            console.note(f"{version}: as it was exported")
    if damaged:
        raise typer.Exit(console.FAILED)


def _versions(path: Path) -> list[Path]:
    """The version folders that are meant. Raises UsageError."""
    from pipelines.errors import UsageError

    if below := [entry for entry in path.glob("*") if entry.name.isdecimal() and entry.is_dir()]:
        return sorted(below, key=lambda entry: int(entry.name))
    if path.is_dir() and path.resolve().name.isdecimal():
        return [path]
    raise UsageError(
        f"Expected a version such as models/NAME/3, or a model that has some. Received: {path}, "
        f"{'which has none' if path.is_dir() else 'which is no folder'}."
    )
