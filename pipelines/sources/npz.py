"""NumPy's .npz: several arrays in a file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import DataDamaged, UsageError
from pipelines.sources.arrays import Arrays, Part, as_classes, checked
from pipelines.sources.base import SPLITS
from pipelines.sources.location import Location


def is_npz(location: Location) -> bool:
    """Whether it is a file of this kind, by its name."""
    return location.path.lower().endswith(".npz") and location.is_file()


def open_npz(location: Location) -> Arrays:
    """The source: arrays x_train and y_train, or train_images and train_labels, also for other splits; or images and labels.

    Pictures as in `Part`; labels (N,) or (N, 1), whole numbers from 0 or texts. An array class_names says what numbers stand
    for. Raises UsageError, DataDamaged.
    """
    arrays = _load(location)
    found = {part: keys for part, *keys in _keys() if set(keys) <= set(arrays)}
    if not found:
        raise UsageError(
            f"{location.text} holds no pictures and labels. Expected arrays x_train and y_train (and x_test, y_test), or "
            f"images and labels. It holds: {', '.join(arrays) or 'none'}."
        )
    images = {part: arrays[keys[0]] for part, keys in found.items()}
    labels = {part: _flat(arrays[keys[1]]) for part, keys in found.items()}
    for part in found:
        checked(images[part], labels[part], f"{location.text} ({', '.join(found[part])})")
    names = [str(name) for name in arrays["class_names"]] if "class_names" in arrays else None
    class_names, indices = as_classes(labels, names, location.text)
    parts = {part: Part(images[part], indices[part], SPLITS.get(part)) for part in found}
    return Arrays(location.data_set_name(), class_names, parts, stamp=location.stamp())


def _load(location: Location) -> dict[str, npt.NDArray[Any]]:
    content = location.read()
    try:
        zipfile.ZipFile(io.BytesIO(content)).close()  # NumPy takes what is no archive for a pickle
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            members = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise UsageError(
                f"{location.text} holds Python objects, which could run any code. Save plain arrays of numbers or texts."
            ) from None
        raise DataDamaged(f"{location.text} is not a readable .npz file: {' '.join(str(error).split())}.") from error
    return {name: member for name, member in members.items() if isinstance(member, np.ndarray)}


def _keys() -> Iterator[tuple[str, str, str]]:
    """Names that a part, its pictures and its labels may have."""
    for word in SPLITS:
        yield word, f"x_{word}", f"y_{word}"
        yield word, f"{word}_images", f"{word}_labels"
    yield "images", "images", "labels"


def _flat(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return labels[:, 0] if labels.shape[1:] == (1,) else labels
