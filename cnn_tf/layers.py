"""Layers that Keras has not, or not on all Python versions we run on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_register = keras.saving.register_keras_serializable("cnn_tf")


@_register
class GroupedConv2D(keras.layers.Conv2D):
    """Conv2D with groups on a CPU too: (B, H, W, C) -> (B, H', W', filters).

    Keras hands grouped convolutions to the XLA compiler, ten times slower here and not in every TensorFlow Serving;
    TensorFlow's own kernel does the same sum.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """What Conv2D.call asks for."""
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper())


@_register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by (k + alpha * sum of squares over `size` neighbouring channels) ** beta; AlexNet, section 3.3.

    The paper's alpha, which is not divided by `size` (torch and Caffe divide).
    """

    def __init__(
        self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **layer_settings: Any
    ) -> None:
        super().__init__(**layer_settings)
        self.settings = {"size": size, "k": k, "alpha": alpha, "beta": beta}

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> the same shape."""
        radius = self.settings["size"] // 2
        _, alpha, beta = (self.settings[name] for name in ("k", "alpha", "beta"))
        # The kernel has no bfloat16.
        normalised = tf.nn.lrn(tf.cast(x, tf.float32), int(radius), self.settings["k"], alpha, beta)
        return tf.cast(normalised, x.dtype)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), **self.settings}


@_register
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Average pooling to `output_size` rows and columns from any size, as torch's: (B, H, W, C) -> (B, h, w, C).

    Output row i is the mean of the input rows from floor(i H / h) to before ceil((i + 1) H / h).
    """

    def __init__(self, output_size: int, **layer_settings: Any) -> None:
        super().__init__(**layer_settings)
        self.output_size = output_size

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Two products with constant matrices."""
        rows, columns = (_mean_matrix(size, self.output_size).astype(x.dtype.name) for size in x.shape[1:3])
        return keras.ops.einsum("hH,wW,bHWc->bhwc", rows, columns, x)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "output_size": self.output_size}


def _mean_matrix(size: int, output_size: int) -> npt.NDArray[np.float64]:
    matrix = np.zeros((output_size, size))
    for i in range(output_size):
        window = slice(i * size // output_size, math.ceil((i + 1) * size / output_size))
        matrix[i, window] = 1 / (window.stop - window.start)
    return matrix


@_register
class PadChannels(keras.layers.Layer):
    """Adds channels of zeros behind: (B, H, W, C) -> (B, H, W, channels)."""

    def __init__(self, channels: int, **layer_settings: Any) -> None:
        super().__init__(**layer_settings)
        self.channels = channels

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Zeros for the new ones."""
        return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.channels - x.shape[-1])))

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "channels": self.channels}


@_register
class TakeChannels(keras.layers.Layer):
    """The channels with these indices, in this order: (B, H, W, C) -> (B, H, W, len(indices))."""

    def __init__(self, indices: Sequence[int], **layer_settings: Any) -> None:
        super().__init__(**layer_settings)
        self.indices = list(indices)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """A copy."""
        return keras.ops.take(x, self.indices, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """For saving."""
        return {**super().get_config(), "indices": self.indices}
