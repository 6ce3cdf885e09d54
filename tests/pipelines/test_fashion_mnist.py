from __future__ import annotations

import gzip
import hashlib

import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp

from pipelines import array_folder, fashion_mnist
from pipelines.errors import DataDamaged, DataUnavailable, UsageError


@hypothesis.given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)))
def test_idx_survives_writing_and_reading(array):
    np.testing.assert_array_equal(fashion_mnist.parse_idx(fashion_mnist.to_idx(array), "x"), array)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\x89PNG....", b"\0\0\x08\x01\0\0\0\x05ab"])
def test_what_is_not_idx_is_refused(content):
    with pytest.raises(DataDamaged, match="x"):
        fashion_mnist.parse_idx(content, "x")


@pytest.fixture
def four_files(tmp_path):
    """A small data set in Fashion-MNIST's files, and their checksums."""
    arrays = [
        np.zeros((3, 28, 28), np.uint8),
        np.arange(3, dtype=np.uint8),
        np.ones((2, 28, 28), np.uint8),
        np.ones(2, np.uint8),
    ]
    checksums = {}
    for name, array in zip(fashion_mnist.CHECKSUMS, arrays, strict=True):
        content = fashion_mnist.to_idx(array)
        checksums[name] = hashlib.sha256(content).hexdigest()
        (tmp_path / name).write_bytes(gzip.compress(content))
    return tmp_path, checksums


def test_reads_the_four_files(four_files):
    data = fashion_mnist.read(*four_files)
    assert data.splits["train"].images.shape == (3, 28, 28, 1)
    assert data.splits["test"].labels.tolist() == [1, 1]
    assert len(data.class_names) == 10


@pytest.mark.parametrize(
    "damage",
    [b"", b"not gzip", gzip.compress(b"other", mtime=0), None],
    ids=["empty", "not gzip", "another file", "cut off"],
)
def test_a_damaged_file_is_named(four_files, damage):
    folder, checksums = four_files
    name = next(iter(checksums))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-9] if damage is None else damage)
    with pytest.raises(DataDamaged, match=name):
        fashion_mnist.read(folder, checksums)


def test_sources_are_tried_in_order_and_told(tmp_path):
    def offline(cache):
        raise DataUnavailable("no network")

    lines = []
    tried = {"First": lambda cache: cache, "Second": offline}
    with pytest.raises(
        DataUnavailable, match=r"Tried: First .*not there.*Second \(no network\).*by hand.*train-images"
    ):
        fashion_mnist.fetch(tmp_path, lines.append, tried)
    assert [line.split(":")[0] for line in lines] == ["First", "Second"]


def test_the_order_of_the_sources():
    assert list(fashion_mnist.SOURCES) == ["Cache", "Installed Debian package", "Debian package", "Keras download"]


def test_a_data_set_folder_survives_and_describes_itself(tmp_path, data_set):
    array_folder.save(tmp_path / "d", data_set, {"origin": "test"})
    loaded = array_folder.load(tmp_path / "d")
    assert loaded.class_names == data_set.class_names
    assert loaded.image_shape == (28, 28, 1)
    np.testing.assert_array_equal(loaded.splits["test"].images, data_set.splits["test"].images)


def test_a_missing_or_damaged_data_set_is_told(tmp_path, data_set):
    with pytest.raises(UsageError, match="cnn-tf prepare"):
        array_folder.load(tmp_path)
    array_folder.save(tmp_path / "d", data_set, {})
    (tmp_path / "d" / "test_images.npy").write_bytes(b"half")
    with pytest.raises(DataDamaged, match="prepare it again"):
        array_folder.load(tmp_path / "d")
