"""Each function equals Keras's layer on small whole numbers, of which sums of products are exact."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cnn_tf import scratch, shapes
from cnn_tf.scratch import Moments

each = settings(derandomize=True, deadline=None, max_examples=50)

PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDING = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
PICTURES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def numbers(*shape):
    return np.random.default_rng(shape).integers(-9, 10, shape).astype(float)


def to_keras(x):
    """(c, h, w) -> a batch of one, channels last."""
    return tf.constant(np.moveaxis(x, 0, -1)[np.newaxis])


def from_keras(x):
    return np.moveaxis(np.asarray(x)[0], -1, 0)


def fits(picture, size, padding):
    return all(n + sum(p) >= k for n, p, k in zip(picture[1:], padding, size, strict=True))


def same(picture, size, strides):
    return tuple(shapes.same_padding(*axis) for axis in zip(picture[1:], size, strides, strict=True))


# 卷积层


def test_a_kernel_is_not_flipped():
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(scratch.corr2d(np.array([[1.0, 0], [0, 0]]), kernel), [[1]])


@each
@given(PICTURES, PAIRS)
def test_a_convolution_is_a_dense_layer_with_few_weights_that_all_outputs_share(picture, size):
    assume(fits(picture, size, scratch.NO_PADDING))
    x, kernel = numbers(*picture[1:]), numbers(*size) + 10
    weights = scratch.dense_weights(kernel, x.shape)
    np.testing.assert_array_equal(weights @ x.ravel(), scratch.corr2d(x, kernel).ravel())
    assert (np.count_nonzero(weights, axis=1) == kernel.size).all()


@each
@given(PICTURES, st.integers(1, 3), PAIRS, PADDING, STRIDES)
def test_convolution_equals_keras_and_has_the_size_of_the_notes_formula(picture, filters, size, padding, strides):
    assume(fits(picture, size, padding))
    x, kernels, biases = numbers(*picture), numbers(filters, picture[0], *size), numbers(filters)
    ours = scratch.conv2d(x, kernels, biases, padding=padding, strides=strides)
    padded = keras.ops.pad(to_keras(x), ((0, 0), *padding, (0, 0)))
    theirs = keras.ops.conv(padded, kernels.transpose(2, 3, 1, 0), strides, "valid") + biases
    np.testing.assert_array_equal(ours, from_keras(theirs))
    axes = zip(picture[1:], size, padding, strides, strict=True)
    assert ours.shape[1:] == tuple(shapes.output_size(n, k, padding=sum(p), strides=s) for n, k, p, s in axes)


@each
@given(PICTURES, PAIRS, STRIDES)
@example((1, 28, 28), (2, 4), (1, 1))
@example((1, 224, 225), (7, 7), (2, 2))
def test_same_padding_is_kerass(picture, size, strides):
    x, kernels = numbers(*picture), numbers(2, picture[0], *size)
    ours = scratch.conv2d(x, kernels, np.zeros(2), padding=same(picture, size, strides), strides=strides)
    theirs = keras.ops.conv(to_keras(x), kernels.transpose(2, 3, 1, 0), strides, "same")
    np.testing.assert_array_equal(ours, from_keras(theirs))


@pytest.mark.parametrize("size", [2, 4])
def test_an_impulse_shows_the_even_kernels_odd_row_on_top_in_the_note_and_at_the_end_in_keras(size):
    impulse, kernel = np.zeros((9, 9)), np.ones((size, size))
    impulse[4, 4] = 1
    note, keras_same = (
        np.flatnonzero(scratch.corr2d(impulse, kernel, padding=(padding, padding)).any(axis=1))
        for padding in (shapes.note_padding(size), shapes.same_padding(9, size))
    )
    np.testing.assert_array_equal(note, keras_same + 1)
    np.testing.assert_array_equal(note, 4 + np.arange(size) - (size - 1) // 2)


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        scratch.corr2d(np.zeros((4, 9)), np.zeros((5, 5)))


# 通道数


def test_the_notes_two_input_channels_give_56():
    x = np.array([np.arange(9.0).reshape(3, 3), np.arange(1.0, 10).reshape(3, 3)])
    kernel = np.array([[[0.0, 1], [2, 3]], [[1, 2], [3, 4]]])
    np.testing.assert_array_equal(scratch.corr2d_multi_in(x, kernel), [[56, 72], [104, 120]])


def test_each_output_channel_has_one_bias():
    kernels, biases = np.zeros((2, 3, 1, 1)), np.array([10.0, 20])
    np.testing.assert_array_equal(scratch.conv2d(np.ones((3, 1, 1)), kernels, biases).ravel(), [10, 20])
    with pytest.raises(ValueError, match="zip"):
        scratch.conv2d(np.ones((3, 1, 1)), kernels, np.zeros(3))


def test_channels_and_kernels_must_be_as_many():
    with pytest.raises(ValueError, match="zip"):
        scratch.corr2d_multi_in(np.zeros((3, 5, 5)), np.zeros((2, 3, 3)))


@each
@given(PICTURES, st.integers(1, 4))
def test_a_1x1_convolution_is_a_matrix_product_and_a_dense_layer_on_the_channels(picture, filters):
    x, weights, biases = numbers(*picture), numbers(filters, picture[0]), numbers(filters)
    ours = scratch.conv1x1(x, weights, biases)
    np.testing.assert_array_equal(ours, scratch.conv2d(x, weights[:, :, np.newaxis, np.newaxis], biases))
    dense = keras.layers.Dense(filters, dtype="float64")
    dense.build((None, None, None, picture[0]))
    dense.set_weights([weights.T, biases])
    np.testing.assert_array_equal(ours, from_keras(dense(to_keras(x))))


# 池化


def test_the_notes_max_pooling():
    pooled = scratch.max_pool2d(np.arange(9.0).reshape(1, 3, 3), (2, 2), strides=(1, 1))
    np.testing.assert_array_equal(pooled, [[[4, 5], [7, 8]]])


@each
@given(PICTURES, PAIRS, STRIDES)
def test_pooling_equals_keras(picture, size, strides):
    assume(fits(picture, size, scratch.NO_PADDING))
    x = numbers(*picture)
    ours = scratch.max_pool2d(x, size, strides=strides)
    np.testing.assert_array_equal(ours, from_keras(keras.ops.max_pool(to_keras(x), size, strides)))
    ours = scratch.average_pool2d(x, size, strides=strides)
    np.testing.assert_allclose(ours, from_keras(keras.ops.average_pool(to_keras(x), size, strides)), atol=1e-12)


@each
@given(PICTURES, PAIRS, STRIDES)
def test_padded_pooling_equals_keras_also_among_negative_values(picture, size, strides):
    x, padding = numbers(*picture) - 20, same(picture, size, strides)
    ours = scratch.max_pool2d(x, size, padding=padding, strides=strides)
    np.testing.assert_array_equal(ours, from_keras(keras.ops.max_pool(to_keras(x), size, strides, "same")))
    means, shares = (
        scratch.average_pool2d(values, size, padding=padding, strides=strides) for values in (x, np.ones_like(x))
    )
    theirs = keras.ops.average_pool(to_keras(x), size, strides, "same")
    np.testing.assert_allclose(means / shares, from_keras(theirs), atol=1e-12)


def test_average_pooling_counts_the_padding():
    padded = scratch.average_pool2d(np.full((1, 2, 2), 8.0), (2, 2), padding=((1, 1), (1, 1)))
    np.testing.assert_array_equal(padded, np.full((1, 2, 2), 2))


def test_windows_of_a_pooling_do_not_overlap_unless_told():
    assert scratch.max_pool2d(numbers(3, 8, 9), (2, 3)).shape == (3, 4, 3)


@pytest.mark.parametrize("pool", [scratch.max_pool2d, scratch.average_pool2d])
def test_pooling_takes_each_channel_by_itself(pool):
    x = numbers(3, 6, 6)
    np.testing.assert_array_equal(pool(x, (2, 2))[1], pool(x[1:2], (2, 2))[0])


# Batch Normalization

BATCHES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 4)),
    st.tuples(*[st.integers(1, 5)] * 4),  # (n, c) or (n, c, h, w)
)


def batch_norm(shape):
    """Keras's layer with weights that are not its first ones, and the same for ours."""
    layer = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float64")
    layer.build((None, *shape[2:], shape[1]))
    gamma, beta, mean = numbers(3, shape[1])
    layer.set_weights([gamma, beta, mean, mean**2 + 1])
    return layer, gamma, beta, Moments(mean, mean**2 + 1)


@each
@given(BATCHES)
@example((1, 3))
@example((1, 3, 5, 5))
def test_batch_normalisation_equals_keras_in_training(shape):
    x = numbers(*shape)
    layer, gamma, beta, moving = batch_norm(shape)
    ours, averages = scratch.batch_norm_training(x, gamma, beta, moving)
    theirs = layer(np.moveaxis(x, 1, -1), training=True)
    np.testing.assert_allclose(np.moveaxis(ours, 1, -1), theirs, atol=1e-9)
    np.testing.assert_allclose(averages, [layer.moving_mean, layer.moving_variance], atol=1e-9)


@each
@given(BATCHES)
def test_batch_normalisation_equals_keras_in_inference(shape):
    x = numbers(*shape)
    layer, gamma, beta, moving = batch_norm(shape)
    ours = scratch.batch_norm_inference(x, gamma, beta, moving)
    np.testing.assert_allclose(np.moveaxis(ours, 1, -1), layer(np.moveaxis(x, 1, -1), training=False), atol=1e-9)


def test_a_normalised_batch_has_mean_beta_and_deviation_gamma_in_each_channel():
    x, gamma, beta = numbers(8, 3, 5, 5), np.array([1.0, 2, 3]), np.array([10.0, 20, 30])
    y, _ = scratch.batch_norm_training(x, gamma, beta, Moments(np.zeros(3), np.ones(3)))
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), beta)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), gamma, rtol=1e-5)


def test_a_batch_of_one_example_is_normalised_to_beta_alone():
    beta = np.array([4.0, 5, 6])
    y, _ = scratch.batch_norm_training(numbers(1, 3), np.ones(3), beta, Moments(np.zeros(3), np.ones(3)))
    np.testing.assert_array_equal(y, [beta])


def test_epsilon_does_not_enter_the_moving_variance():
    x, zeros = np.array([[1.0], [3.0]]), np.zeros(1)
    _, moving = scratch.batch_norm_training(x, zeros, zeros, Moments(zeros, zeros), momentum=0.5, epsilon=100)
    np.testing.assert_array_equal(moving, [[1.0], [0.5]])


# ResNet


def test_a_residual_block_that_adds_nothing_is_a_relu():
    x = numbers(2, 4, 4)
    np.testing.assert_array_equal(scratch.residual(x, np.zeros_like), np.maximum(x, 0))


@pytest.mark.parametrize(("filters", "strides"), [(3, 1), (8, 2)], ids=["same shape", "projected"])
def test_a_residual_block_equals_keras(filters, strides):
    x, kernels, biases = numbers(3, 8, 9), numbers(filters, 3, 3, 3), numbers(filters)
    projection = None if filters == 3 else numbers(filters, 3, 1, 1)

    def g(x):
        return scratch.conv2d(x, kernels, biases, padding=((1, 1), (1, 1)), strides=(strides, strides))

    ours = scratch.residual(x, g, projection=projection, strides=(strides, strides))
    padded = keras.ops.pad(to_keras(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    theirs = keras.ops.conv(padded, kernels.transpose(2, 3, 1, 0), strides, "valid") + biases
    shortcut = to_keras(x)
    if projection is not None:
        shortcut = keras.ops.conv(shortcut, projection.transpose(2, 3, 1, 0), strides, "valid")
    np.testing.assert_array_equal(ours, from_keras(keras.ops.relu(theirs + shortcut)))
