"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28x28 (Xiao, Rasul, Vollgraf, 2017), from wherever they are to be
had.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipelines import files
from pipelines.errors import DataDamaged, DataUnavailable, PipelineError
from pipelines.sources import debian, keras_download
from pipelines.sources.arrays import Arrays, Part
from pipelines.sources.base import PUBLISHED
from pipelines.sources.cache import cache_folder
from pipelines.sources.idx import parse_idx, to_idx, unzipped
from pipelines.sources.location import Location

NAME = "fashion_mnist"

CLASS_NAMES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip

# File -> SHA-256 of its unpacked content: packed bytes differ between distributors, the pictures don't.
CHECKSUMS: Mapping[str, str] = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"

Report = Callable[[str], None]
Place = Callable[[Path], Path]
"""Cache folder -> folder that holds the four files. Raises PipelineError with the reason if it cannot give them."""


def open_fashion_mnist(location: Location) -> Arrays:
    """The source. Raises DataUnavailable."""
    return fetch(cache_folder() / "fashion-mnist", logging.getLogger(__name__).info)[0]


def fetch(cache: Path, report: Report, places: Mapping[str, Place] | None = None) -> tuple[Arrays, str]:
    """The pictures from the first place that has them, verified, and that place's name.

    cache: the folder where fetched files are kept.  report: takes a line about each place tried.

    Raises DataUnavailable, with all that was tried, if no place works.
    """
    tried = []
    for name, place in (places or PLACES).items():
        try:
            folder = place(cache)
            data = read(folder)
        except (PipelineError, OSError) as error:
            report(f"{name}: {error}")
            tried.append(f"{name} ({error})")
        else:
            report(f"{name}: found, checksums verified ({folder})")
            return data, name
    raise DataUnavailable(
        f"Fashion-MNIST could not be had. Tried: {'; '.join(tried)}. To place it by hand, put the four files "
        f"{', '.join(CHECKSUMS)} into {cache} and run this again."
    )


def read(folder: Path, checksums: Mapping[str, str] = CHECKSUMS) -> Arrays:
    """The pictures from the four files in `folder`. Raises DataUnavailable if one is missing, DataDamaged if one is wrong."""
    train_images, train_labels, test_images, test_labels = (
        parse_idx(_unpack(folder / name, checksum), name) for name, checksum in checksums.items()
    )
    parts = {
        "train": Part(train_images, train_labels.astype(np.int64), "train"),
        "test": Part(test_images, test_labels.astype(np.int64), "test"),
    }
    return Arrays(NAME, CLASS_NAMES, parts, PUBLISHED)


def _unpack(path: Path, checksum: str) -> bytes:
    try:
        content = unzipped(path.read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise DataUnavailable(f"{path} is not there") from None
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DataDamaged(f"{path} is damaged: its checksum is not that of the published file")
    return content


def _from_cache(cache: Path) -> Path:
    return cache


def _from_installed_package(cache: Path) -> Path:
    return DEBIAN_FOLDER


def _from_debian_package(cache: Path) -> Path:
    with debian.unpacked(DEBIAN_PACKAGE) as root:
        unpacked = root / DEBIAN_FOLDER.relative_to("/")
        read(unpacked)
        for name in CHECKSUMS:
            files.write(cache / name, (unpacked / name).read_bytes())
    return cache


def _from_keras(cache: Path) -> Path:
    arrays = [array for split in keras_download.load(NAME).values() for array in split]
    for name, array in zip(CHECKSUMS, arrays, strict=True):
        files.write(cache / name, gzip.compress(to_idx(array)))
    return cache


PLACES: Mapping[str, Place] = {
    "Cache": _from_cache,
    "Installed Debian package": _from_installed_package,
    "Debian package": _from_debian_package,
    "Keras download": _from_keras,
}
