"""Where examples come from: a prepared data set folder.

manifest.json        name, class names, picture shape, examples per split and class, where it came from
SPLIT_images.npy     uint8 (N, H, W, C), values 0..255
SPLIT_labels.npy     uint8 (N,), index into the class names
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import files
from pipelines.errors import DataDamaged, UsageError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Split:
    """Examples in a fixed order. images: uint8 (N, H, W, C), values 0..255; labels: uint8 (N,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def slice(self, start: int, stop: int) -> Split:
        """The examples from `start` to before `stop`."""
        return Split(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class DataSet:
    """Splits by name ("train", "test"), and what their labels mean."""

    name: str
    class_names: list[str]
    splits: dict[str, Split]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.splits["train"].images.shape[1:]
        return height, width, channels


def random_pictures(
    name: str, class_names: list[str], image_shape: tuple[int, int, int], examples: int = 16
) -> DataSet:
    """Stands in where there is no data set: a split "test" of noise, always the same. image_shape: (H, W, C)."""
    images = np.random.default_rng(0).integers(0, 256, (examples, *image_shape), dtype=np.uint8)
    return DataSet(name, class_names, {"test": Split(images, np.zeros(examples, np.uint8))})


def save(folder: Path, data: DataSet, facts: Mapping[str, Any]) -> None:
    """Writes a data set folder, all or nothing; `facts` join the manifest."""
    with files.folder_aside(folder) as aside:
        for name, split in data.splits.items():
            np.save(aside / f"{name}_images.npy", split.images)
            np.save(aside / f"{name}_labels.npy", split.labels)
        splits = {name: _describe(split, data.class_names) for name, split in data.splits.items()}
        manifest = {
            "name": data.name,
            "class_names": data.class_names,
            "image_shape": data.image_shape,
            "splits": splits,
            **facts,
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _describe(split: Split, class_names: list[str]) -> dict[str, Any]:
    counts = np.bincount(split.labels, minlength=len(class_names)).tolist()
    return {"examples": len(split), "classes": dict(zip(class_names, counts, strict=True))}


def load(folder: Path) -> DataSet:
    """The data set in `folder`; pictures are mapped into memory, not read. Raises UsageError, DataDamaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            f"There is no prepared data set in {folder} ({MANIFEST} is missing). Run: cnn-tf prepare {folder.name}"
        )
    try:
        manifest = json.loads(path.read_text())
        splits = {
            name: Split(np.load(folder / f"{name}_images.npy", mmap_mode="r"), np.load(folder / f"{name}_labels.npy"))
            for name in manifest["splits"]
        }
        return DataSet(manifest["name"], manifest["class_names"], splits)
    except (OSError, ValueError, KeyError) as error:
        raise DataDamaged(
            f"The data set in {folder} cannot be read ({error}). Delete the folder and prepare it again."
        ) from error
