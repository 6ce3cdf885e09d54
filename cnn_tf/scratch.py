"""The lecture note's layers in a few lines of NumPy each: for reading beside the note, not for speed.

The layout is the note's, channels first: a picture is (c, h, w), a batch (n, c, h, w), the kernels of a convolution are
(c_o, c_i, k_h, k_w). The networks in this package have channels last, as TensorFlow: (n, h, w, c) and (k_h, k_w, c_i, c_o).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cnn_tf import shapes

Array = npt.NDArray[np.floating]
Pair = tuple[int, int]
"""(for rows, for columns)."""
Padding = tuple[Pair, Pair]
"""((rows on top, at the bottom), (columns on the left, on the right)): for example twice shapes.note_padding(k)."""

NO_PADDING = ((0, 0), (0, 0))


def windows(x: Array, size: Pair, strides: Pair = (1, 1)) -> Array:
    """(n_h, n_w) -> (m_h, m_w, k_h, k_w): at [i, j] is what output (i, j) sees of x; section "步幅".

    Raises ValueError if not even one window fits.
    """
    (k_h, k_w), (s_h, s_w) = size, strides
    m_h, m_w = (shapes.output_size(n, k, strides=s) for n, k, s in zip(x.shape, size, strides, strict=True))
    tops, lefts = range(0, m_h * s_h, s_h), range(0, m_w * s_w, s_w)
    return np.array([[x[top : top + k_h, left : left + k_w] for left in lefts] for top in tops])


def corr2d(x: Array, kernel: Array, *, padding: Padding = NO_PADDING, strides: Pair = (1, 1)) -> Array:
    """Cross-correlation (n_h, n_w), (k_h, k_w) -> (m_h, m_w): multiply each window by the kernel, and sum; section "卷积层".

    The kernel is not flipped, which would make it the convolution of mathematics. Around x there are zeros.
    """
    products = windows(np.pad(x, padding), kernel.shape, strides) * kernel
    output: Array = products.sum(axis=(2, 3))
    return output


def dense_weights(kernel: Array, shape: Pair) -> Array:
    """The matrix (m_h m_w, n_h n_w) by which a dense layer does to pictures of this shape what corr2d does.

    "可以看成特殊的全连接层": each row is one output's weights, the kernel at its place among zeros. All rows share the
    same few numbers, and each looks at its own place alone.
    """
    m_h, m_w = (shapes.output_size(n, k) for n, k in zip(shape, kernel.shape, strict=True))
    weights = np.zeros((m_h, m_w, *shape))
    for i in range(m_h):
        for j in range(m_w):
            weights[i, j, i : i + kernel.shape[0], j : j + kernel.shape[1]] = kernel
    return weights.reshape(m_h * m_w, -1)


def corr2d_multi_in(x: Array, kernel: Array, *, padding: Padding = NO_PADDING, strides: Pair = (1, 1)) -> Array:
    """(c_i, n_h, n_w), (c_i, k_h, k_w) -> (m_h, m_w): each channel by its own kernel, all added; section "多个输入通道".

    These are c_i terms; the note's sum from 0 to c_i has one too many.
    """
    channels = zip(x, kernel, strict=True)
    outputs = [corr2d(plane, weights, padding=padding, strides=strides) for plane, weights in channels]
    output: Array = np.sum(outputs, axis=0)
    return output


def conv2d(x: Array, kernels: Array, biases: Array, *, padding: Padding = NO_PADDING, strides: Pair = (1, 1)) -> Array:
    """(c_i, n_h, n_w), (c_o, c_i, k_h, k_w), (c_o,) -> (c_o, m_h, m_w): a kernel for each output; section "多个输出通道".

    There is one bias for each output channel, added once, after the sum over the input channels; the note's c_o x c_i
    biases (section "二维卷积层的参数") are wrong.
    """
    outputs = zip(kernels, biases, strict=True)
    return np.stack([corr2d_multi_in(x, kernel, padding=padding, strides=strides) + bias for kernel, bias in outputs])


def conv1x1(x: Array, weights: Array, biases: Array) -> Array:
    """(c_i, h, w), (c_o, c_i), (c_o,) -> (c_o, h, w): a dense layer at each pixel, one matrix product; section "1x1 卷积层"."""
    pixels = x.reshape(len(x), -1)
    return (weights @ pixels + biases[:, np.newaxis]).reshape(-1, *x.shape[1:])


def max_pool2d(x: Array, size: Pair, *, padding: Padding = NO_PADDING, strides: Pair | None = None) -> Array:
    """(c, n_h, n_w) -> (c, m_h, m_w): each window's largest value, in each channel by itself; section "二维最大池化".

    Around x there is -inf, which never wins: zeros would, among negative values. strides: None for the window's size, so
    that windows do not overlap; the note does not say so, TensorFlow and torch do it.
    """
    planes = [np.pad(plane, padding, constant_values=-np.inf) for plane in x]
    return np.stack([windows(plane, size, strides or size).max(axis=(2, 3)) for plane in planes])


def average_pool2d(x: Array, size: Pair, *, padding: Padding = NO_PADDING, strides: Pair | None = None) -> Array:
    """(c, n_h, n_w) -> (c, m_h, m_w): each window's mean, in each channel by itself; section "平均池化层".

    The zeros around x count as pixels, as in torch. TensorFlow's "same" leaves them out; that is the same pooling divided
    by the pooling of a picture of ones. strides: as in max_pool2d.
    """
    planes = [np.pad(plane, padding) for plane in x]
    return np.stack([windows(plane, size, strides or size).mean(axis=(2, 3)) for plane in planes])


class Moments(NamedTuple):
    """Mean and variance of each channel, both (c,)."""

    mean: Array
    variance: Array


def batch_norm_inference(x: Array, gamma: Array, beta: Array, moments: Moments, *, epsilon: float = 1e-5) -> Array:
    """Normalises each channel by given moments: gamma (x - mean) / sqrt(variance + epsilon) + beta; section "Method".

    x: (n, c) behind a dense layer, or (n, c, h, w) behind a convolution. gamma, beta: (c,).

    With the moving averages for moments, an example's result does not depend on the others; the note leaves this out.
    """
    per_channel = (-1,) + (1,) * (x.ndim - 2)
    mean, variance, scale, offset = (values.reshape(per_channel) for values in (*moments, gamma, beta))
    normalised: Array = (x - mean) / np.sqrt(variance + epsilon)
    return scale * normalised + offset


def batch_norm_training(
    x: Array, gamma: Array, beta: Array, moving: Moments, *, momentum: float = 0.9, epsilon: float = 1e-5
) -> tuple[Array, Moments]:
    """The same with the batch's own moments: (the result, the new moving averages); section "Method".

    All pixels of a channel count together. momentum: share of the old average that stays, 0..1 (torch's is 1 minus this).

    The note counts epsilon to the variance; it belongs under the root alone, not into the moving average. The variance is
    divided by the number of values, as in Keras; torch normalises so too, but divides by one less for its moving average.
    """
    axes = (0, *range(2, x.ndim))
    batch = Moments(x.mean(axes), x.var(axes))
    averages = (momentum * old + (1 - momentum) * new for old, new in zip(moving, batch, strict=True))
    return batch_norm_inference(x, gamma, beta, batch, epsilon=epsilon), Moments(*averages)


def residual(
    x: Array, g: Callable[[Array], Array], *, projection: Array | None = None, strides: Pair = (1, 1)
) -> Array:
    """relu(x + g(x)), (c_i, n_h, n_w) -> (c_o, m_h, m_w); section "残差块", which leaves out the ReLU.

    projection: (c_o, c_i, 1, 1), a convolution that gives x the shape of g(x) where it has another one; the note leaves it
    out too. strides: of that convolution.
    """
    y = g(x)
    if projection is not None:
        x = conv2d(x, projection, np.zeros(len(projection)), strides=strides)
    output: Array = np.maximum(x + y, 0)
    return output
