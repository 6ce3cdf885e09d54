from __future__ import annotations

import gzip
import hashlib
import io

import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipelines.errors import DataDamaged, DataUnavailable
from pipelines.sources import fashion_mnist
from pipelines.sources.idx import parse_idx, to_idx


@hypothesis.given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_idx_survives_writing_and_reading(array):
    np.testing.assert_array_equal(parse_idx(to_idx(array), "x"), array)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08", b"\x89PNG....", b"\0\0\x08\x01\0\0\0\x05ab", b"\0\0\x08\x03\0\0"]
)
def test_what_is_not_idx_is_refused(content):
    with pytest.raises(DataDamaged, match="x"):
        parse_idx(content, "x")


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
        content = to_idx(array)
        checksums[name] = hashlib.sha256(content).hexdigest()
        (tmp_path / name).write_bytes(gzip.compress(content))
    return tmp_path, checksums


def test_reads_the_four_files(four_files):
    data = fashion_mnist.read(*four_files)
    candidates, problems = data.list()
    assert problems == []
    assert [(c.path, c.label, c.split) for c in candidates[:3]] == [
        ("test/00000", "Trouser", "test"),
        ("test/00001", "Trouser", "test"),
        ("train/00000", "T-shirt/top", "train"),
    ]
    assert np.asarray(Image.open(io.BytesIO(data.read("test/00001")))).tolist() == np.ones((28, 28)).tolist()
    with pytest.raises(OSError, match="test/00002"):
        data.read("test/00002")


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


def test_places_are_tried_in_order_and_told(tmp_path):
    def offline(cache):
        raise DataUnavailable("no network")

    lines = []
    tried = {"First": lambda cache: cache, "Second": offline}
    with pytest.raises(
        DataUnavailable, match=r"Tried: First .*not there.*Second \(no network\).*by hand.*train-images"
    ):
        fashion_mnist.fetch(tmp_path, lines.append, tried)
    assert [line.split(":")[0] for line in lines] == ["First", "Second"]


def test_the_order_of_the_places():
    assert list(fashion_mnist.PLACES) == ["Cache", "Installed Debian package", "Debian package", "Keras download"]
