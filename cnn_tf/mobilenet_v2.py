"""MobileNetV2: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018 (arXiv:1801.04381).

A block widens, convolves each channel by itself, and narrows again without a nonlinearity; shortcuts join the narrow ends.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor


class Bottlenecks(NamedTuple):
    """A row of table 2: t, c, n, s. `num_blocks` blocks that widen by `expansion`; only the first of them strides."""

    expansion: int
    filters: int
    num_blocks: int
    strides: int


# 224x224: the stem leaves 112; a stage a row: 112, 56, 28, 14, 14, 7, 7.
TABLE_2 = (
    Bottlenecks(1, 16, 1, 1),
    Bottlenecks(6, 24, 2, 2),
    Bottlenecks(6, 32, 3, 2),
    Bottlenecks(6, 64, 4, 2),
    Bottlenecks(6, 96, 3, 1),
    Bottlenecks(6, 160, 3, 2),
    Bottlenecks(6, 320, 1, 1),
)

# variant -> width multiplier (section 4): of all filters, but the last convolution's 1280 never shrink.
MOBILENETS_V2 = {
    "mobilenet_v2": 1.0,
}


def mobilenet_v2(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `MOBILENETS_V2`."""
    width = MOBILENETS_V2[variant]
    inputs, x = blocks.images(input_shape)
    x = blocks.conv_bn(x, multiple_of_8(32 * width), 3, 2, activation="relu6", name="stem")
    for stage, row in enumerate(TABLE_2, start=1):
        for block in range(1, row.num_blocks + 1):
            strides = row.strides if block == 1 else 1
            name = f"stage{stage}_block{block}"
            x = inverted_residual(x, multiple_of_8(row.filters * width), strides, expansion=row.expansion, name=name)
    x = blocks.conv_bn(x, multiple_of_8(1280 * max(1.0, width)), 1, activation="relu6", name="head")
    x = blocks.dropout(blocks.global_average(x), 0.2, name="head_dropout")
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def inverted_residual(x: Tensor, filters: int, strides: int, *, expansion: int, name: str) -> Tensor:
    """Table 1: a 1x1 convolution to `expansion` times the channels, 3x3 of each, 1x1. -> (B, H/strides, W/strides, filters)."""
    y = x
    if expansion > 1:
        y = blocks.conv_bn(y, x.shape[-1] * expansion, 1, activation="relu6", name=f"{name}_expand")
    y = blocks.depthwise_conv(y, 3, strides, use_bias=False, name=f"{name}_depthwise_conv")
    y = blocks.batch_norm(y, name=f"{name}_depthwise")
    y = layers.Activation("relu6", name=f"{name}_depthwise_relu6")(y)
    y = blocks.conv_bn(y, filters, 1, activation=None, name=f"{name}_project")
    if strides == 1 and x.shape[-1] == filters:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def multiple_of_8(filters: float) -> int:
    """The nearest multiple of 8, at least 8, and never less than nine tenths of `filters`."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters else rounded + 8
