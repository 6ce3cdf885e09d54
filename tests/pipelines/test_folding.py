"""Batch normalization in the layers before it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import cnn_tf
from cnn_tf.layers import GroupedConv2D
from pipelines.folding import fold_batch_norm


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def as_if_trained(model):
    """With statistics of batches that no network begins with."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def images(*shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)


def test_a_folded_network_answers_alike_and_keeps_the_names_of_layers():
    model = as_if_trained(cnn_tf.build("resnet20", (32, 32, 3), 10))
    before = [weight.copy() for weight in model.get_weights()]
    folded = fold_batch_norm(model)
    pictures = images(2, 32, 32, 3)
    expected = model(pictures).numpy()
    np.testing.assert_allclose(folded(pictures), expected, atol=1e-5 * np.abs(expected).max())
    assert {layer.name for layer in folded.layers} == {layer.name for layer in model.layers} - set(norms(model))
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def twice_read(x):
    x = layers.Conv2D(3, 1, name="conv")(x)
    return layers.Add()([x, layers.BatchNormalization()(x)])


def activated(x):
    return layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(x))


def of_rows(x):
    return layers.BatchNormalization(axis=1)(layers.Conv2D(3, 1)(x))


@pytest.mark.parametrize("make", [twice_read, activated, of_rows])
def test_what_would_answer_differently_stays(make):
    inputs = keras.Input((5, 5, 3))
    model = as_if_trained(keras.Model(inputs, make(inputs)))
    folded = fold_batch_norm(model)
    assert len(norms(folded)) == 1
    np.testing.assert_allclose(folded(images(2, 5, 5, 3)), model(images(2, 5, 5, 3)), rtol=1e-5)


def test_all_kinds_of_layers_and_of_normalizations():
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=0.1)(x)
    x = GroupedConv2D(6, 2, groups=2, use_bias=False, name="grouped")(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.BatchNormalization()(layers.Dense(3, name="dense")(layers.Flatten()(x)))
    model = as_if_trained(keras.Model(inputs, x))
    folded = fold_batch_norm(model)
    assert norms(folded) == []
    np.testing.assert_allclose(folded(images(2, 6, 6, 4)), model(images(2, 6, 6, 4)), rtol=1e-4)
