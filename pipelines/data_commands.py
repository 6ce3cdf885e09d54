"""Data sets as commands: prepare one, show it, share the work on it between machines."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tf import console
from cnn_tf.quiet import import_tensorflow

if TYPE_CHECKING:
    from pipelines.config import TrainConfig
    from pipelines.manifest import DataSet
    from pipelines.prepare import Settings
    from pipelines.sources import Source

DataFolder = Annotated[Path, typer.Option("--data", file_okay=False, help="Folder of prepared data sets.")]


class OnError(str, enum.Enum):
    """What is done about files with problems."""

    FAIL = "fail"
    SKIP = "skip"


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="Pictures: a folder of class folders; a table of paths and labels (.csv, .tsv, .jsonl); an .npz file; a "
            "folder of IDX or TFRecord files; any of these as URL (gs://, s3://); or a name: fashion_mnist, emoji, "
            "keras:NAME, tfds:NAME."
        ),
    ] = "fashion_mnist",
    name: Annotated[str | None, typer.Option(help="Name of the data set (default: the source's).")] = None,
    split: Annotated[
        str, typer.Option(metavar="SHARES", help="For pictures that the source puts in no split.")
    ] = "train=0.8,validation=0.1,test=0.1",
    stratify: Annotated[bool, typer.Option("--stratify", help="Bring each class for itself to these shares.")] = False,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of the table whose equal values stay in one split, such as patient."
        ),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="fail: stop if more than --max-errors of the files have problems; skip: never.")
    ] = OnError.FAIL,
    max_errors: Annotated[float, typer.Option(min=0, max=1, help="Share of the files that may have problems.")] = 0.01,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help="Kind of problem whose pictures are used all the same, such as near_duplicate."
        ),
    ] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pictures that announce more are not decoded.")] = 178_956_970,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Files a split (default: as many as make about 150 MB each).")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Make no shards; training reads the pictures from where they are.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    data: DataFolder = Path("data"),
) -> None:
    """Make a data set of any pile of pictures: find what is wrong with them, choose splits, write data/NAME.

    Files with problems are named in data/NAME/problems.csv and left out; data/NAME/report.html shows what there is. The source
    is never changed. Stopped, it goes on where it was; run again, it adds what is new.

    Example: cnn-tf prepare photos/ --name flowers --split train=0.7,validation=0.15,test=0.15 --stratify
    """
    from pipelines import files

    import_tensorflow()
    from pipelines import prepare as stage
    from pipelines import sources

    settings = stage.Settings(
        shares=_shares(split),
        stratify=stratify,
        on_error=on_error.value,
        max_errors=max_errors,
        keep=frozenset(keep or ()),
        max_pixels=max_pixels,
        sharded=not in_place,
        shards=shards,
    )
    opened = sources.open_source(source, group)
    files.require_name("data set", name := opened.name if name is None else name)
    _prepare(opened, data / name, settings, dry_run)


def _shares(text: str) -> dict[str, float]:
    """{"train": 0.8, "test": 0.2} from "train=0.8,test=0.2". Raises UsageError."""
    from pipelines.errors import UsageError

    try:
        return {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise UsageError(f"--split must be like train=0.8,validation=0.1,test=0.1. Received: {text}.") from None


def _prepare(source: Source, folder: Path, settings: Settings, dry_run: bool = False) -> None:
    from pipelines import manifest
    from pipelines import prepare as stage
    from pipelines.prepare import observer
    from pipelines.sources import PUBLISHED

    if source.kept == PUBLISHED and (folder / manifest.MANIFEST).is_file():  # it never changes
        manifest.load(folder)  # raises if it is damaged
        console.note(f"Reusing the prepared data set in {folder}")
        return
    with observer.showing(console.err) as progress:
        prepared = (stage.rehearse if dry_run else stage.prepare)(source, folder, settings, progress)
    splits = ", ".join(f"{count:,} {name}" for name, count in prepared.splits.items())
    done = "Would make" if dry_run else "Wrote" if prepared.added else "There already:"
    console.note(f"{done} {folder}: {splits}")
    if not dry_run:
        console.note(f"Report: {folder / stage.REPORT}")


def load(name: str, data: Path) -> DataSet:
    """The data set `name`; a known one is prepared first if it is not there yet. Raises UsageError."""
    from pipelines import manifest, sources
    from pipelines import prepare as stage
    from pipelines.errors import UsageError

    folder = data / name
    if not (folder / manifest.MANIFEST).is_file():
        if name not in sources.SOURCES:
            there = sorted(path.parent.name for path in data.glob(f"*/{manifest.MANIFEST}"))
            raise UsageError(
                f"There is no data set {name!r} in {data}. There are: {', '.join(there) or 'none yet'}. "
                f"Make it of your pictures: cnn-tf prepare FOLDER --name {name}"
            )
        _prepare(sources.open_source(name), folder, stage.Settings())
    return manifest.load(folder)


def show(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of a prepared data set.")],
    augment: Annotated[bool, typer.Option("--augment", help="Show what training makes of each picture, too.")] = False,
    preset: Annotated[str | None, typer.Option(help="Augment as this preset does.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Augment so, such as augment.flip=true; many times."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 8,
    output: Annotated[Path, typer.Option(dir_okay=False, help="PNG file to write.")] = Path("sheet.png"),
    data: DataFolder = Path("data"),
) -> None:
    """Draw pictures of a data set on a sheet, evenly spread over a split, with their class names.

    With --augment, --preset or --set: each beside 15 versions that training could see.

    Example: cnn-tf data show flowers --set augment.policy=randaugment --count 4
    """
    config = _config(preset, change or []) if augment or preset or change else None
    import_tensorflow()
    from pipelines import contact_sheet, files

    examples = load(name, data)
    positions = contact_sheet.choose(_examples(examples, split), count)
    if config is None:
        sheet = contact_sheet.draw(contact_sheet.examples(examples, split, positions), columns=8)
    else:
        sheet = contact_sheet.draw(contact_sheet.augmented(examples, split, positions, config), columns=5)
    files.write(output, sheet)
    console.note(f"Wrote {output}")


def _examples(data: DataSet, split: str) -> int:
    """How many a split has. Raises UsageError if it is not there."""
    from cnn_tf import naming
    from pipelines.errors import UsageError

    if split not in data.splits:
        raise UsageError(naming.unknown("split", split, data.splits))
    return len(data.splits[split])


def _config(preset: str | None, changes: list[str]) -> TrainConfig:
    """What to show: a preset's augmentation, the changes' alone, or, of neither, what is usual for photographs."""
    from pipelines import config as configuration
    from pipelines import presets

    usual = configuration.AugmentConfig(
        random_resized_crop=True, flip=True, brightness=0.2, contrast=0.2, saturation=0.2
    )
    base = configuration.TrainConfig() if changes else configuration.TrainConfig(augment=usual)
    return configuration.resolve(presets.preset(preset) if preset else base, None, changes)
