"""MobileNetV3: Howard et al., "Searching for MobileNetV3", 2019 (arXiv:1905.02244).

MobileNetV2's blocks with squeeze-and-excitation (Hu et al., 2017, arXiv:1709.01507), and in the deeper half hard-swish,
x relu6(x + 3) / 6, which Keras calls hard_silu. Kernel sizes and widths were found by search.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor
from cnn_tf.mobilenet_v2 import multiple_of_8


class Bottleneck(NamedTuple):
    """A row of table 1 or 2: kernel size, exp size, #out, SE, NL and s."""

    kernel_size: int
    expanded: int
    filters: int
    squeeze: bool
    activation: str
    strides: int


class MobileNetV3(NamedTuple):
    """Its stages of blocks, and the hidden layer of its classifier."""

    stages: tuple[tuple[Bottleneck, ...], ...]
    units: int


# 224x224: the stem leaves 112, the stages 56, 28, 14, 7.
MOBILENETS_V3 = {
    "mobilenet_v3_small": MobileNetV3(
        (
            (Bottleneck(3, 16, 16, True, "relu", 2),),
            (
                Bottleneck(3, 72, 24, False, "relu", 2),
                Bottleneck(3, 88, 24, False, "relu", 1),
            ),
            (
                Bottleneck(5, 96, 40, True, "hard_silu", 2),
                Bottleneck(5, 240, 40, True, "hard_silu", 1),
                Bottleneck(5, 240, 40, True, "hard_silu", 1),
                Bottleneck(5, 120, 48, True, "hard_silu", 1),
                Bottleneck(5, 144, 48, True, "hard_silu", 1),
            ),
            (
                Bottleneck(5, 288, 96, True, "hard_silu", 2),
                Bottleneck(5, 576, 96, True, "hard_silu", 1),
                Bottleneck(5, 576, 96, True, "hard_silu", 1),
            ),
        ),
        units=1024,
    ),
}


def mobilenet_v3(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `MOBILENETS_V3`."""
    row = MOBILENETS_V3[variant]
    inputs, x = blocks.images(input_shape)
    x = _conv_bn(x, 16, 3, 2, activation="hard_silu", name="stem")
    for stage, bottlenecks in enumerate(row.stages, start=1):
        for block, bottleneck in enumerate(bottlenecks, start=1):
            x = inverted_residual(x, bottleneck, name=f"stage{stage}_block{block}")
    x = _conv_bn(x, 6 * x.shape[-1], 1, activation="hard_silu", name="head")
    x = blocks.dense(blocks.global_average(x), row.units, name="head_dense")
    x = layers.Activation("hard_silu", name="head_dense_hard_silu")(x)
    x = blocks.dropout(x, 0.2, name="head_dropout")
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def inverted_residual(x: Tensor, row: Bottleneck, *, name: str) -> Tensor:
    """Figure 4: widen, convolve each channel by itself, weigh the channels, narrow. -> (B, H/strides, W/strides, filters)."""
    y = x
    if row.expanded != x.shape[-1]:
        y = _conv_bn(y, row.expanded, 1, activation=row.activation, name=f"{name}_expand")
    y = blocks.depthwise_conv(y, row.kernel_size, row.strides, use_bias=False, name=f"{name}_depthwise_conv")
    y = _normalise(y, row.activation, name=f"{name}_depthwise")
    if row.squeeze:
        y = squeeze_and_excite(y, multiple_of_8(row.expanded // 4), name=name)
    y = _conv_bn(y, row.filters, 1, activation=None, name=f"{name}_project")
    if row.strides == 1 and x.shape[-1] == row.filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def squeeze_and_excite(x: Tensor, squeezed: int, *, name: str) -> Tensor:
    """(B, H, W, C) -> the same shape: each channel times a weight 0..1 that comes from the means of all channels."""
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze_pool")(x)
    weights = blocks.conv_relu(weights, squeezed, 1, name=f"{name}_squeeze")
    weights = blocks.conv(weights, x.shape[-1], 1, name=f"{name}_excite_conv")
    weights = layers.Activation("hard_sigmoid", name=f"{name}_excite_hard_sigmoid")(weights)
    return layers.Multiply(name=f"{name}_excite_multiply")([x, weights])


def _conv_bn(
    x: Tensor, filters: int, kernel_size: int, strides: int = 1, *, activation: str | None, name: str
) -> Tensor:
    x = blocks.conv(x, filters, kernel_size, strides, use_bias=False, name=f"{name}_conv")
    return _normalise(x, activation, name=name)


def _normalise(x: Tensor, activation: str | None, *, name: str) -> Tensor:
    """Batch normalisation with the slow averages of section 6.1, activation."""
    x = blocks.batch_norm(x, momentum=0.99, epsilon=1e-3, name=name)
    return x if activation is None else layers.Activation(activation, name=f"{name}_{activation}")(x)
