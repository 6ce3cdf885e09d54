"""Heat maps, against what they are without any gradient where the classifier is a mean and one layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import cnn_tf
from pipelines import features
from pipelines.explain import heat_maps

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)


def at_full_size(heat):
    """(B, h, w) -> (B, 32, 32), 0..1."""
    heat = tf.image.resize(np.maximum(heat, 0)[..., np.newaxis], (32, 32)).numpy()[..., 0]
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-30)


def test_behind_an_average_it_is_the_class_activation_map():
    model = cnn_tf.build("resnet20", (32, 32, 3), 4)
    maps = keras.Model(model.input, model.get_layer("stage3_block3_relu").output)(IMAGES).numpy()
    heat_map, logits = heat_maps(model)(tf.constant(IMAGES))
    np.testing.assert_allclose(logits, model(IMAGES), atol=1e-5)
    kernel = model.get_layer("logits").kernel.numpy()[:, np.argmax(logits, axis=1)]  # (64, B)
    expected = at_full_size(np.einsum("bhwc,cb->bhw", maps, kernel))
    assert expected.max() == 1
    np.testing.assert_allclose(heat_map, expected, atol=1e-3)


def test_of_nin_it_is_the_map_of_the_class():
    model = cnn_tf.build("nin_cifar", (32, 32, 3), 4)
    maps = keras.Model(model.input, model.get_layer("stage3_3_relu").output)(IMAGES).numpy()
    heat_map, logits = heat_maps(model)(tf.constant(IMAGES))
    best = np.argmax(logits, axis=1)
    np.testing.assert_allclose(heat_map, at_full_size(maps[range(3), :, :, best]), atol=1e-4)


def test_it_is_there_though_the_weights_are_frozen():
    model = cnn_tf.build("lenet5", (32, 32, 3), 4)
    expected, _ = heat_maps(model)(tf.constant(IMAGES))
    model.trainable = False
    heat_map, _ = heat_maps(model)(tf.constant(IMAGES))
    np.testing.assert_array_equal(heat_map, expected)


# Some have a single pixel in their last stage. In that of resnet18_v2 something goes past all maps but one.
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("lenet5", "stage2_pool"),
        ("resnet18", "stage3_block2_relu"),
        ("resnet18_v2", "stage4_block1_1_relu"),
        ("mobilenet_v3_small", "stage4_block1_expand_hard_silu"),
    ],
)
def test_the_last_map_that_has_places_and_that_all_goes_through(name, layer):
    to_maps, to_logits = features.split(model := cnn_tf.build(name, (32, 32, 3), 4))
    assert to_maps.layers[-1].name == layer
    np.testing.assert_allclose(to_logits(to_maps(IMAGES)), model(IMAGES), atol=1e-5)
