"""Gets a data set and writes it as a data set folder: `python -m pipelines.prepare fashion_mnist`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from cnn_tf import naming
from pipelines import array_folder, fashion_mnist, files
from pipelines.errors import UsageError

Fetch = Callable[[Path, Callable[[str], None]], tuple[array_folder.DataSet, str]]

# Data set -> what fetches it.
DATA_SETS: Mapping[str, Fetch] = {"fashion_mnist": fashion_mnist.fetch}


def cache_folder() -> Path:
    """Where downloads are kept for all projects of this user; the environment variable CNN_TF_CACHE moves it."""
    return Path(os.environ.get("CNN_TF_CACHE") or platformdirs.user_cache_path("cnn-tf"))


def is_prepared(folder: Path) -> bool:
    """Whether a data set folder is there; it is there as a whole or not at all."""
    return (folder / array_folder.MANIFEST).is_file()


def prepare(name: str, data_folder: Path, report: Callable[[str], None]) -> Path:
    """Makes the folder `data_folder`/`name`, unless it is there; returns it.

    Raises UsageError for an unknown data set, DataUnavailable if no source has it.
    """
    if name not in DATA_SETS:
        raise UsageError(naming.unknown("data set", name, DATA_SETS))
    folder = data_folder / name
    if is_prepared(folder):
        array_folder.load(folder)  # raises if it is damaged
        report(f"Reusing the prepared data set in {folder}")
        return folder
    with files.lock(data_folder):
        data, origin = DATA_SETS[name](cache_folder() / name.replace("_", "-"), report)
        array_folder.save(folder, data, {"origin": origin})
    report(f"Wrote {folder}: " + ", ".join(f"{len(split):,} {split_name}" for split_name, split in data.splits.items()))
    return folder


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.prepare)
