"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28x28 (Xiao, Rasul, Vollgraf, 2017), from wherever it is to be had.

The files are in IDX format: a big-endian header (magic number with the number of axes in its last byte, then their sizes)
and the values as bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnn_tf.quiet import import_tensorflow
from pipelines import files
from pipelines.array_folder import DataSet, Split
from pipelines.errors import DataDamaged, DataUnavailable, PipelineError

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
Source = Callable[[Path], Path]
"""Cache folder -> folder that holds the four files. Raises PipelineError with the reason if it cannot give them."""


def fetch(cache: Path, report: Report, sources: Mapping[str, Source] | None = None) -> tuple[DataSet, str]:
    """The data set from the first source that has it, verified, and that source's name.

    cache: the folder where fetched files are kept.  report: takes a line about each source tried.

    Raises DataUnavailable, with all that was tried, if no source works.
    """
    tried = []
    for name, source in (sources or SOURCES).items():
        try:
            folder = source(cache)
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


def read(folder: Path, checksums: Mapping[str, str] = CHECKSUMS) -> DataSet:
    """The data set from the four files in `folder`. Raises DataUnavailable if one is missing, DataDamaged if one is wrong."""
    train_images, train_labels, test_images, test_labels = (
        parse_idx(_unpack(folder / name, checksum), name) for name, checksum in checksums.items()
    )
    splits = {
        "train": Split(train_images[..., np.newaxis], train_labels),
        "test": Split(test_images[..., np.newaxis], test_labels),
    }
    return DataSet("fashion_mnist", CLASS_NAMES, splits)


def _unpack(path: Path, checksum: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DataUnavailable(f"{path} is not there") from None
    except (OSError, EOFError, ValueError) as error:
        raise DataDamaged(f"{path} is damaged: {error}") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise DataDamaged(f"{path} is damaged: its checksum is not that of the published file")
    return content


def parse_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """The array of bytes in an IDX file's content. Raises DataDamaged."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataDamaged(f"{name} is not an IDX file of bytes")
    rank = content[3]
    header = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", content[4:header])
    values = np.frombuffer(content, np.uint8, offset=header)
    if values.size != np.prod(shape):
        raise DataDamaged(f"{name} announces {shape} values and holds {values.size}")
    return values.reshape(shape)


def to_idx(array: npt.NDArray[np.uint8]) -> bytes:
    """An IDX file's content."""
    return (
        struct.pack(f">3xB{array.ndim}I", array.ndim, *array.shape).replace(b"\0\0\0", b"\0\0\x08", 1) + array.tobytes()
    )


def _from_cache(cache: Path) -> Path:
    return cache


def _from_installed_package(cache: Path) -> Path:
    return DEBIAN_FOLDER


def _from_debian_package(cache: Path) -> Path:
    """Downloads the package and unpacks it into the cache; neither needs root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise DataUnavailable("this system has no apt-get")
    with tempfile.TemporaryDirectory() as folder:
        _run(["apt-get", "-qq", "download", DEBIAN_PACKAGE], folder)
        (package,) = Path(folder).glob("*.deb")
        _run(["dpkg", "-x", package.name, "unpacked"], folder)
        unpacked = Path(folder, "unpacked", *DEBIAN_FOLDER.parts[1:])
        read(unpacked)
        for name in CHECKSUMS:
            files.write(cache / name, (unpacked / name).read_bytes())
    return cache


def _run(command: list[str], folder: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        raise DataUnavailable(f"{command[0]} failed: {lines[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataUnavailable(f"{command[0]} failed: {error}") from error


def _from_keras(cache: Path) -> Path:
    import_tensorflow()
    import keras

    try:
        (train_images, train_labels), (test_images, test_labels) = keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras wraps whatever the network does into plain exceptions of several kinds
        raise DataUnavailable(" ".join(str(error).split())) from error
    arrays = (train_images, train_labels, test_images, test_labels)
    for name, array in zip(CHECKSUMS, arrays, strict=True):
        files.write(cache / name, gzip.compress(to_idx(array)))
    return cache


SOURCES: Mapping[str, Source] = {
    "Cache": _from_cache,
    "Installed Debian package": _from_installed_package,
    "Debian package": _from_debian_package,
    "Keras download": _from_keras,
}
