from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import write_data_set

from pipelines import dataset, manifest, prepare, runs, sources
from pipelines.config import DataConfig
from pipelines.errors import DataDamaged, UsageError
from pipelines.prepare.observer import SilentObserver


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data_set):
    folder = tmp_path_factory.mktemp("data") / "patterns"
    write_data_set(folder, data_set)
    return folder


def test_a_prepared_data_set_is_the_one_it_was_made_of(folder, data_set):
    loaded = manifest.load(folder)
    assert (loaded.name, loaded.class_names) == ("patterns", data_set.class_names)
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 500, "test": 120}
    assert loaded.image_shape == (28, 28, 1)
    for name, split in data_set.splits.items():
        expected = {(int(label), encoded) for label, encoded in zip(split.labels, split.storage.encoded, strict=True)}
        read = loaded.splits[name].storage.reader()
        labels = loaded.splits[name].labels.tolist()
        assert {(label, read(tf.constant(number)).numpy()) for number, label in enumerate(labels)} == expected
        np.testing.assert_array_equal(loaded.splits[name].lengths.sum(), split.lengths.sum())


def test_some_examples_are_the_same_as_in_the_whole(folder):
    split = manifest.load(folder).splits["test"]
    chosen = np.array([7, 3, 100])
    part = split.take(chosen)
    assert part.ids.tolist() == split.ids[chosen].tolist()
    images = dataset.pictures(split, DataConfig(), (28, 28, 1))
    np.testing.assert_array_equal(dataset.pictures(part, DataConfig(), (28, 28, 1)), images[chosen])


def test_pictures_left_in_their_place_are_the_same_as_in_shards(tmp_path):
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"é {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (30, 20, 3), np.uint8)).save(path)
    source = sources.open_source(str(tmp_path / "photos"))
    for name, sharded in (("copied", True), ("in_place", False)):
        prepare.prepare(source, tmp_path / name, prepare.Settings(sharded=sharded), SilentObserver())
    copied, in_place = manifest.load(tmp_path / "copied"), manifest.load(tmp_path / "in_place")
    assert not (tmp_path / "in_place" / "shards").exists()
    assert copied.fingerprint == in_place.fingerprint
    for split in copied.splits:
        pictures = [dataset.pictures(data.splits[split], DataConfig(), (30, 20, 3)) for data in (copied, in_place)]
        np.testing.assert_array_equal(*pictures)


def test_a_missing_or_damaged_data_set_is_told(folder, tmp_path):
    with pytest.raises(UsageError, match="cnn-tf prepare"):
        manifest.load(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes((folder / "manifest.parquet").read_bytes()[:-100])
    with pytest.raises(DataDamaged, match="prepare it again"):
        manifest.load(tmp_path)


def test_a_damaged_shard_is_told(folder, tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "manifest.parquet").write_bytes((folder / "manifest.parquet").read_bytes())
    shard = bytearray((folder / "shards" / "test-00000.tfrecord").read_bytes())
    shard[len(shard) // 2] ^= 1
    (tmp_path / "shards" / "test-00000.tfrecord").write_bytes(shard)
    with pytest.raises(DataDamaged, match=r"cannot be read \(corrupted record.*Prepare it again"):
        dataset.pictures(manifest.load(tmp_path).splits["test"], DataConfig(), (28, 28, 1))


def test_a_run_is_found_beside_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stamps").mkdir()
    assert runs.find("stamps", Path("runs")).folder == Path("runs/stamps")
    (tmp_path / "stamps" / "config.yaml").touch()
    assert runs.find("stamps", Path("runs")).folder == Path("stamps")
    assert runs.find("elsewhere/stamps", Path("runs")).folder == Path("elsewhere/stamps")


def test_the_most_held_out_split_is_found(data_set):
    assert data_set.held_out is data_set.splits["test"]
    with pytest.raises(UsageError, match="has no validation split. It has: train, test"):
        data_set.split("validation")
