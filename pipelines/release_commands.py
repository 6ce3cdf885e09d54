"""Commands on exported versions: `cnn-tf verify`, `cnn-tf release ...`. Only what measures latency imports TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import filesize
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from cnn_tf import console
from pipelines.commands import ModelsFolder

if TYPE_CHECKING:
    from fsspec.callbacks import Callback

    from pipelines.releases import Change

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model: its folder in --models.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Do it whatever the checks say.")]


def verify(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="models/NAME/VERSION, or a folder of versions or of models."),
    ],
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

    if below := _versions_of(path):
        return below
    if path.is_dir() and path.resolve().name.isdecimal():
        return [path]
    if below := [version for model in sorted(path.glob("*")) for version in _versions_of(model)]:
        return below
    raise UsageError(
        f"Expected a version such as models/NAME/3, a model that has some, or a folder of models. Received: {path}, "
        f"{'which has no version' if path.is_dir() else 'which is no folder'}."
    )


def _versions_of(model: Path) -> list[Path]:
    below = [entry for entry in model.glob("*") if entry.name.isdecimal() and entry.is_dir()]
    return sorted(below, key=lambda entry: int(entry.name))


def list_releases(name: ModelName, models: ModelsFolder = Path("models")) -> None:
    """Show the versions of a model: labels, which ones are served, and what their model cards tell.

    Example: cnn-tf release list fashion_mnist
    """
    from pipelines import model_card, releases
    from pipelines.errors import DataDamaged

    base_path = _base_path(models, name)
    releases.require_model(base_path)
    released = releases.read(base_path)
    served = releases.served(base_path, released)
    table = Table(
        "version", "labels", "served", "accuracy", "pictures", "data", "form", "exported", box=None, pad_edge=False
    )
    for column in (0, 3, 4):
        table.columns[column].justify = "right"
    notes = [
        f"{label} was version {gone}, which is no longer there." for label, gone in releases.gone(base_path).items()
    ]
    for version in releases.versions(base_path):
        try:
            card = model_card.read(base_path / str(version)) or {}
        except DataDamaged as error:
            card = {}
            notes.append(str(error))
        evaluation = card.get("evaluation") or {}
        table.add_row(
            str(version),
            ", ".join(label for label, named in released.labels.items() if named == version),
            "yes" if version in served else "",
            f"{evaluation['accuracy']:.2%}" if "accuracy" in evaluation else "–",
            f"{evaluation['examples']:,}" if "examples" in evaluation else "–",
            str(evaluation.get("data", "–"))[:8],
            _form(card),
            card.get("exported", "–"),
        )
    console.out.print(table)
    if released.labels and not releases.is_told(base_path):
        label, version = next(iter(released.labels.items()))
        notes.append(
            f"{models / releases.CONFIG_FILE}, which servers read, says something else: a command was killed, or it was "
            f"changed by hand. Have it written anew: cnn-tf release promote {name} {version} --label {label}"
        )
    for note in notes:
        console.note(note)


def _form(card: dict[str, Any]) -> str:
    """What --optimize and --xla made of the network."""
    if not (optimization := card.get("optimization")):
        return "float32" if card else "–"
    return f"{optimization['name']}{', XLA' if optimization['xla'] else ''}"


def promote(
    name: ModelName,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Number of the version.")],
    label: Annotated[str, typer.Option(help="stable or canary.")] = "stable",
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracy that may be lost against the stable version: 0.01 is 1 %.")
    ] = 0.0,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="PERCENT",
            help="How much longer than the stable version it may take for the same pictures: runs both here to measure it.",
        ),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    models: ModelsFolder = Path("models"),
) -> None:
    """Give a version a label, if its files are whole and it is as accurate as the stable one on the same pictures.

    With --max-slowdown also if it is not much slower.

    Example: cnn-tf release promote fashion_mnist 4 --label canary
    """
    from pipelines import releases

    base_path = _base_path(models, name)
    served = releases.served(base_path, releases.read(base_path))
    change = releases.promote(
        base_path, version, label, tolerance=tolerance, max_slowdown=max_slowdown, force=force, dry_run=dry_run
    )
    _tell(change, dry_run)
    if max_slowdown is not None and not force:
        console.note(str(change.latency or "Latency was not measured: no other version is stable, to compare with."))
    if change.before not in (None, version) and version not in served:
        console.note(
            f"Version {version} was not served until now. cnn-tf serve loads it and then moves the label. A TensorFlow Serving "
            "that runs moves no label to such a version: restart it."
        )


def rollback(
    name: ModelName, force: Force = False, dry_run: DryRun = False, models: ModelsFolder = Path("models")
) -> None:
    """Give the label stable back to the version that had it before.

    Example: cnn-tf release rollback fashion_mnist
    """
    from pipelines import releases

    _tell(releases.rollback(_base_path(models, name), force=force, dry_run=dry_run), dry_run)


def prune(
    name: ModelName,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")] = 3,
    dry_run: DryRun = False,
    models: ModelsFolder = Path("models"),
) -> None:
    """Remove old versions, but none that has a label or that a rollback goes to; damaged ones are no reason to.

    Example: cnn-tf release prune fashion_mnist --keep 5 --dry-run
    """
    from pipelines import releases

    base_path = _base_path(models, name)
    removed = releases.prune(base_path, keep, dry_run=dry_run)
    for version in removed:
        typer.echo(f"{'would remove' if dry_run else 'removed'} {base_path / str(version)}")
    if not removed:
        console.note("Nothing to remove.")


def publish(
    name: ModelName,
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE", help="Where to: a folder, or a URL such as gs://bucket/models that fsspec knows."
        ),
    ],
    version: Annotated[
        int | None, typer.Option(help="Number of the version.", show_default="the stable one, else the newest")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Read every file back and compare its checksum; without it, sizes are compared.")
    ] = True,
    dry_run: DryRun = False,
    models: ModelsFolder = Path("models"),
) -> None:
    """Copy a version to PLACE/NAME/VERSION, where servers see it as a whole or not at all; goes on where it stopped.

    Example: cnn-tf release publish fashion_mnist gs://bucket/models
    """
    from pipelines import releases
    from pipelines.publish import publish
    from pipelines.sources.location import Location

    # The file systems' packages log what they raise as well, some with a traceback.
    logging.getLogger().addHandler(logging.NullHandler())
    base_path, to = _base_path(models, name), Location.parse(place)
    version = releases.current(base_path) if version is None else version
    releases.require_version(base_path, version)
    releases.require_whole(base_path, version)
    with _bar() as callback:
        done = publish(base_path / str(version), name, to, verify=verify, dry_run=dry_run, callback=callback)
    size = filesize.decimal(done.size)
    if not done.missing:
        alike = "as it was exported" if verify else "by the sizes of its files, whose content was not compared"
        console.note(f"{done.url} is there already, {alike}: {done.files} files, {size}")
    else:
        typer.echo(f"{'would publish' if dry_run else 'published'} {done.url}: {done.files} files, {size}")


@contextmanager
def _bar() -> Iterator[Callback]:
    """A bar of bytes, which fsspec moves, on a terminal for the time of the block."""
    from fsspec.callbacks import Callback

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console.err, transient=True, disable=not console.err.is_terminal) as bar:
        task = bar.add_task("publishing")
        yield Callback(hooks={"bar": lambda size, value, **_: bar.update(task, total=size, completed=value)})


def _base_path(models: Path, name: str) -> Path:
    from pipelines import files

    files.require_name("model", name)
    return models / name


def _tell(change: Change, dry_run: bool) -> None:
    before = {None: "new", change.after: "as before"}.get(change.before, f"was {change.before}")
    typer.echo(f"{'would be ' if dry_run else ''}{change.label}: {change.after} ({before})")
