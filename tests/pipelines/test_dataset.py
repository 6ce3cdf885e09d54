from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import dataset, transforms
from pipelines.array_folder import Split
from pipelines.augment import augment
from pipelines.config import AugmentConfig, DataConfig, TrainConfig

SPLIT = Split(np.arange(50, dtype=np.uint8).repeat(4).reshape(50, 2, 2, 1), np.arange(50, dtype=np.uint8))


def training(first_step=0, **changes):
    settings = {"epochs": 3, "seed": 5, "data": DataConfig(batch_size=8)} | changes
    return list(dataset.for_training(SPLIT, TrainConfig(**settings), first_step).as_numpy_iterator())


def test_every_epoch_shows_examples_once_in_an_order_of_its_own():
    labels = np.stack([batch["label"] for batch in training()]).reshape(3, 6 * 8)
    assert all(len(set(epoch)) == 48 for epoch in labels.tolist())
    assert len({tuple(epoch) for epoch in labels.tolist()}) == 3


def test_pictures_and_labels_stay_together():
    for batch in training():
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])


@pytest.mark.parametrize("first_step", [1, 5, 6, 7, 17])
def test_going_on_from_any_step_gives_the_batches_that_were_left(first_step):
    rest = training(first_step, augment=AugmentConfig(flip=True, shift=1))
    unbroken = training(augment=AugmentConfig(flip=True, shift=1))[first_step:]
    assert len(rest) == len(unbroken) == 18 - first_step
    for actual, expected in zip(rest, unbroken, strict=True):
        np.testing.assert_array_equal(actual["image"], expected["image"])
        np.testing.assert_array_equal(actual["label"], expected["label"])


def test_another_seed_gives_another_order():
    assert training(seed=5)[0]["label"].tolist() != training(seed=6)[0]["label"].tolist()


def test_evaluation_shows_every_example_once_in_order():
    labels = np.concatenate([batch["label"] for batch in dataset.for_evaluation(SPLIT, 16).as_numpy_iterator()])
    assert labels.tolist() == list(range(50))


def example(image):
    return {"image": tf.constant(image), "label": tf.constant(0, tf.int64), "seed": tf.constant([1, 2], tf.int64)}


@pytest.mark.parametrize(
    "config", [AugmentConfig(flip=True), AugmentConfig(shift=2), AugmentConfig(flip=True, shift=3)]
)
def test_augmentation_keeps_shape_and_type_and_repeats_itself(config):
    image = np.random.default_rng(0).integers(1, 256, (9, 7, 3), dtype=np.uint8)
    eager = augment(config)(example(image))["image"].numpy()
    graph = tf.function(augment(config))(example(image))["image"].numpy()
    assert eager.shape == image.shape
    assert eager.dtype == np.uint8
    np.testing.assert_array_equal(eager, graph)


def test_no_augmentation_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(augment(AugmentConfig())(example(image))["image"], image)


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "jpeg", "webp"])
def test_decodes_every_format(kind, channels):
    image = np.full((20, 30, 3), 77, np.uint8)
    for function in (transforms.decode(channels), tf.function(transforms.decode(channels))):
        decoded = function(tf.constant(encoded(image, kind))).numpy()
        assert decoded.shape == (20, 30, channels)
        assert abs(decoded.astype(int) - 77).max() <= 2


@pytest.mark.parametrize("content", [b"", b"B", b"BM", b"GIF8", b"RIFF", b"\xff\xd8", b"text"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        transforms.decode(1)(tf.constant(content))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_the_right_size_comes_out_as_it_went_in(channels):
    image = np.random.default_rng(0).integers(0, 256, (28, 28, channels), dtype=np.uint8)
    transform = transforms.decode_and_resize(28, 28, channels)
    for function in (transform, tf.function(transform)):
        np.testing.assert_array_equal(function(tf.constant(encoded(image, "png"))), image)


def test_resizing_keeps_the_range_and_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    resized = transforms.resize(20, 30)(tf.constant(image)).numpy()
    assert (resized.shape, resized.dtype) == ((20, 30, 3), np.uint8)
    assert abs(resized.mean() - image.mean()) < 1
