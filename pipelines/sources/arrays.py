"""Pictures in memory as arrays. Each is handed on as a PNG file, which keeps every value."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.errors import DataDamaged
from pipelines.sources.base import Candidate, Listing


@dataclass(frozen=True)
class Part:
    """Pictures of one split."""

    images: npt.NDArray[np.uint8]
    """(N, H, W) or (N, H, W, C) with C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); values 0..255."""
    labels: npt.NDArray[np.int64]
    """(N,) index into the class names."""
    split: str | None
    """"train", "validation", "test", or None: to be chosen."""


@dataclass(frozen=True)
class Arrays:
    """The pictures of all parts. A picture's path is the part's name and its number: "train/00017"."""

    name: str
    class_names: Sequence[str]
    parts: Mapping[str, Part]
    kept: frozenset[str] = frozenset()
    stamp: str = ""
    """Changes when the files do that the arrays are from."""
    root: str = ""

    def list(self) -> Listing:
        """A candidate for each picture; no problem."""
        candidates = [
            Candidate(f"{name}/{number:05d}", self.class_names[label], part.split, stamp=self.stamp)
            for name, part in self.parts.items()
            for number, label in enumerate(part.labels)
        ]
        return sorted(candidates, key=lambda candidate: candidate.path), []

    def read(self, path: str) -> bytes:
        """The picture as PNG. Raises OSError if there is none of this path."""
        name, _, number = path.rpartition("/")
        try:
            image = self.parts[name].images[int(number)]
        except (KeyError, ValueError, IndexError):
            raise FileNotFoundError(f"There is no picture {path} in {self.name}.") from None
        return to_png(image)


def to_png(image: npt.NDArray[np.uint8]) -> bytes:
    """uint8 (H, W) or (H, W, C), C from 1 to 4 -> a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).save(file, "PNG")
    return file.getvalue()


def checked(images: npt.NDArray[Any], labels: npt.NDArray[Any], what: str) -> None:
    """Raises DataDamaged unless the arrays are pictures and a label for each. what: names them in the message."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and not 1 <= images.shape[3] <= 4):
        raise DataDamaged(
            f"The pictures of {what} must be uint8 (N, H, W) or (N, H, W, C) with 1 to 4 channels, values 0..255. "
            f"Received: {images.dtype} {images.shape}."
        )
    if 0 in images.shape[1:]:
        raise DataDamaged(f"The pictures of {what} have no pixels: {images.shape}.")
    if labels.shape != images.shape[:1]:
        raise DataDamaged(
            f"{what} has {len(images)} pictures and labels of shape {labels.shape}; expected one for each."
        )


def number_names(highest: int) -> list[str]:
    """Names for classes that have numbers only, in digits enough to sort by: "0" to "9", or "00" to "12"."""
    return [f"{number:0{len(str(highest))}d}" for number in range(highest + 1)]


def as_classes(
    labels: Mapping[str, npt.NDArray[Any]], class_names: Sequence[str] | None, what: str
) -> tuple[list[str], dict[str, npt.NDArray[np.int64]]]:
    """Class names, and the index of each label in them. labels: (N,) whole numbers from 0, or texts, by part.

    class_names: what numbers stand for; None: themselves. Raises DataDamaged if a label is no index, or neither kind.
    """
    values = np.concatenate([*labels.values()])
    if values.dtype.kind == "U":
        names = sorted(set(values.tolist()))
        return names, {part: np.searchsorted(names, array).astype(np.int64) for part, array in labels.items()}
    highest = int(values.max(initial=0)) if values.dtype.kind in "iu" else -1
    names = list(class_names) if class_names is not None else number_names(max(highest, 0))
    if not 0 <= highest < max(len(names), 1) or (values < 0).any():
        raise DataDamaged(
            f"Labels of {what} must be texts, or whole numbers from 0"
            f"{f' to {len(names) - 1}' if class_names is not None else ''}. Received: {values.dtype}"
            + (f" from {values.min()} to {values.max()}." if values.dtype.kind in "iu" else ".")
        )
    return names, {part: array.astype(np.int64) for part, array in labels.items()}
