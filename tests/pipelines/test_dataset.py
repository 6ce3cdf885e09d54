from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import cache, dataset, manifest
from pipelines.config import AugmentConfig, DataConfig, TrainConfig

SHAPE = (6, 5, 1)
AUGMENTATIONS = {
    "none": AugmentConfig(),
    "shifted": AugmentConfig(flip=True, shift=1),
    "cropped": AugmentConfig(random_resized_crop=True),
    "all": AugmentConfig(
        random_resized_crop=True, flip=True, rotation=20, brightness=0.3, policy="randaugment", mixup=0.4
    ),
}


def split(examples):
    """Picture number i has the value i everywhere."""
    images = np.arange(examples, dtype=np.uint8).repeat(np.prod(SHAPE)).reshape(examples, *SHAPE)
    return manifest.from_arrays("d", ["a", "b"], {"train": (images, np.arange(examples) % 2)}).splits["train"]


SPLIT = split(50)


def config(**changes):
    return TrainConfig(**{"epochs": 3, "seed": 5, "data": DataConfig(batch_size=8)} | changes)


def training(examples=SPLIT, threads=None, **changes):
    loading = {key: changes.pop(key) for key in ("first_step", "cache") if key in changes}
    batches = dataset.for_training(examples, config(**changes), SHAPE, 2, **loading)
    options = tf.data.Options()
    if threads:
        options.threading.private_threadpool_size = threads
    return list(batches.with_options(options).as_numpy_iterator())


def assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@functools.cache
def unbroken(name):
    """With a row of AUGMENTATIONS; the same for all that ask, since each pipeline takes a second to be made."""
    return training(augment=AUGMENTATIONS[name], threads=1)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 60), st.integers(1, 16), st.integers(1, 4), st.integers(0, 2**40))
def test_every_epoch_shows_every_example_exactly_once(examples, batch_size, epochs, seed):
    part = SPLIT.take(np.arange(examples) % 50) if examples <= 50 else split(examples)
    batches = training(part, epochs=epochs, seed=seed, data=DataConfig(batch_size=batch_size))
    ids = np.concatenate([batch["id"] for batch in batches]).reshape(epochs, examples)
    assert all(sorted(epoch) == sorted(name.encode() for name in part.ids) for epoch in ids)
    assert len(batches) == dataset.steps(part, config(epochs=epochs, data=DataConfig(batch_size=batch_size)))
    assert {len(batch["id"]) for batch in batches[:-1]} <= {batch_size}


def test_every_epoch_has_an_order_of_its_own():
    labels = np.concatenate([batch["id"] for batch in unbroken("none")]).reshape(3, 50)
    assert len({tuple(epoch) for epoch in labels.tolist()}) == 3


def test_another_seed_gives_another_order():
    assert unbroken("none")[0]["id"].tolist() != training(seed=6)[0]["id"].tolist()


def test_pictures_labels_and_ids_stay_together():
    for batch in unbroken("none"):
        numbers = batch["image"][:, 0, 0, 0]
        np.testing.assert_array_equal(numbers % 2, batch["label"])
        assert [f"train-{number:05d}".encode() for number in numbers] == batch["id"].tolist()


@pytest.mark.parametrize("name", ["shifted", "cropped", "all"])
def test_two_runs_and_any_number_of_threads_give_the_same_bytes(name):
    assert_equal(training(augment=AUGMENTATIONS[name], threads=16), unbroken(name))


# Within an epoch, at its end, and at the end of all.
@pytest.mark.parametrize(("name", "first_step"), [("shifted", 7), ("none", 19), ("all", 1)])
def test_going_on_from_any_step_gives_the_batches_that_were_left(name, first_step):
    assert len(unbroken(name)) == 19
    assert_equal(training(augment=AUGMENTATIONS[name], first_step=first_step), unbroken(name)[first_step:])


def test_an_examples_randomness_is_its_own():
    """It depends on seed, epoch and id, not on which other examples there are."""
    seeds = [
        {name: tuple(seed) for batch in batches for name, seed in zip(batch["id"], batch["seed"], strict=True)}
        for batches in (unbroken("none"), training(SPLIT.take(slice(10, 30))))
    ]
    assert set(seeds[1].items()) <= set(seeds[0].items())
    assert len(set(seeds[0].values())) == 50


def test_each_epoch_augments_anew():
    batches = training(augment=AugmentConfig(brightness=0.9))
    images = {}
    for batch in batches:
        for name, image in zip(batch["id"], batch["image"], strict=True):
            images.setdefault(name, set()).add(image.tobytes())
    assert sum(len(seen) == 3 for seen in images.values()) > 30


def test_weights_come_with_their_examples():
    weighted = dataclasses.replace(SPLIT, weights=np.arange(50, dtype=np.float32))
    for batch in training(weighted):
        np.testing.assert_array_equal(batch["weight"], batch["image"][:, 0, 0, 0])


@pytest.mark.parametrize("name", ["shifted", "cropped"])
@pytest.mark.parametrize("place", ["auto", "disk"])
def test_a_cache_changes_nothing(place, name, tmp_path):
    notes = []
    kept = cache.choose(place, tmp_path / "cache", notes.append)
    written = place == "disk" and name == "shifted"  # random parts come from the files, which are on the disk
    for _ in range(1 + written):  # the second time, the file is there
        assert_equal(training(augment=AUGMENTATIONS[name], cache=kept), unbroken(name))
    assert len(notes) == len(list(tmp_path.glob("cache/*"))) == written


@pytest.mark.parametrize(("budget", "made"), [(1500, 50), (1499, 150)])
@pytest.mark.parametrize("spec", [tf.TensorSpec(SHAPE, tf.uint8), tf.TensorSpec((), tf.string)])
def test_auto_keeps_what_fits_the_budget(budget, made, spec, tmp_path):
    calls = []

    def make(number):
        tf.py_function(lambda: calls.append(1), [], [])
        return tf.zeros(spec.shape, spec.dtype)

    kept = cache.choose("auto", tmp_path, str, budget)(make, cache.Content(spec, 50, 1500, "key"))
    for _ in range(3):
        list(tf.data.Dataset.range(50).map(kept))
    assert len(calls) == made


def test_auto_keeps_no_more_than_the_budget_in_all(tmp_path):
    kept = cache.choose("auto", tmp_path, str, budget=100)
    contents = [cache.Content(tf.TensorSpec((), tf.string), 10, size, "key") for size in (60, 50, 40)]
    assert [kept(tf.strings.as_string, content) is tf.strings.as_string for content in contents] == [False, True, False]


def test_evaluation_shows_every_example_once_in_order():
    batches = list(dataset.for_evaluation(SPLIT, DataConfig(), SHAPE, 16).as_numpy_iterator())
    assert np.concatenate([batch["id"] for batch in batches]).tolist() == [name.encode() for name in SPLIT.ids]
    assert [len(batch["label"]) for batch in batches] == [16, 16, 16, 2]
    np.testing.assert_array_equal(dataset.pictures(SPLIT, DataConfig(), SHAPE)[:, 0, 0, 0], np.arange(50))
