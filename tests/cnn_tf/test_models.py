from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import cnn_tf
from cnn_tf import shapes

# name -> trainable parameters for 28x28x1 and 10 classes (shared/architectures.md of d2l's forms), feature shapes.
EXPECTED = {
    "lenet5": (61_706, {"conv1": (28, 28, 6), "pool1": (14, 14, 6), "conv2": (10, 10, 16), "pool2": (5, 5, 16)}),
    "lenet5_bn": (44_878, {"conv1": (24, 24, 6), "pool1": (12, 12, 6), "conv2": (8, 8, 16), "pool2": (4, 4, 16)}),
}


@pytest.fixture(params=EXPECTED)
def name(request):
    return request.param


def test_every_model_has_its_expectations():
    assert set(cnn_tf.MODELS) == set(EXPECTED)


def test_parameter_count(name):
    model = cnn_tf.build(name, (28, 28, 1), 10)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == EXPECTED[name][0]


def test_feature_shapes(name):
    model = cnn_tf.build(name, (28, 28, 1), 10)
    assert {layer: model.get_layer(layer).output.shape[1:] for layer in EXPECTED[name][1]} == EXPECTED[name][1]


def test_gradients_reach_every_weight(name):
    model = cnn_tf.build(name, (28, 28, 1), 10)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), dtype=np.uint8)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(pictures, training=True) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None and np.isfinite(gradient.numpy()).all() for gradient in gradients)


def test_takes_other_sizes_channels_and_classes(name):
    model = cnn_tf.build(name, (33, 47, 3), 7)
    assert model(np.zeros((2, 33, 47, 3), np.uint8)).shape == (2, 7)


def test_uint8_and_float_pictures_give_the_same_logits(name):
    model = cnn_tf.build(name, (28, 28, 1), 10)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(model(pictures), model(pictures.astype(np.float32)))


def test_save_and_load(name, tmp_path):
    model = cnn_tf.build(name, (28, 28, 1), 10)
    model.save(tmp_path / "model.keras")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(pictures), model(pictures))


def test_too_small_a_picture_is_told_the_smallest_size(name):
    smallest = {"lenet5": 12, "lenet5_bn": 16}[name]
    cnn_tf.build(name, (smallest, smallest, 1), 10)
    with pytest.raises(ValueError, match=rf"at least {smallest}x{smallest}.*Received: {smallest - 1}x28"):
        cnn_tf.build(name, (smallest - 1, 28, 1), 10)


def test_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown model 'lenet_5'. Expected one of: lenet5, .*Did you mean 'lenet5'"):
        cnn_tf.build("lenet_5", (28, 28, 1), 10)


def test_the_notes_224_to_4_by_5x5_kernels_takes_55_layers():
    size, layers = 224, 0
    while size > 4:
        size, layers = shapes.output_size(size, 5), layers + 1
    assert (size, layers) == (4, 55)


@pytest.mark.parametrize(("size", "kernel", "strides"), [(8, 3, 2), (28, 5, 1), (7, 4, 3), (224, 7, 2)])
def test_the_notes_padding_rule_divides_the_size_by_the_strides(size, kernel, strides):
    assert shapes.output_size(size, kernel, padding=kernel - 1, strides=strides) == math.ceil(size / strides)


def test_a_kernel_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        shapes.output_size(4, 5)
