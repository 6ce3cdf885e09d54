"""NiN: Lin, Chen and Yan, "Network in network", 2013 (arXiv:1312.4400); lecture note, section "网络中的网络 NiN".

The note says that NiN needs no convolution layers at all: it needs no fully connected ones. It has nothing but convolutions,
poolings and dropout; 1x1 convolutions are fully connected layers at each pixel, with the same weights at all of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor

CLASSES = None
"""As many filters as there are classes."""


class Pool(Protocol):
    """(B, H, W, C) -> (B, about H/2, about W/2, C)."""

    def __call__(self, x: Tensor, *, name: str) -> Tensor:
        """Adds the layers."""


def maximum(x: Tensor, *, name: str) -> Tensor:
    """Over 3x3."""
    return blocks.max_pool(x, 3, name=name)


def maximum_over_end(x: Tensor, *, name: str) -> Tensor:
    """Over 3x3; the last window may hang over the end."""
    return blocks.max_pool(x, 3, ceil=True, name=name)


def average_over_end(x: Tensor, *, name: str) -> Tensor:
    """Over 3x3; the last window may hang over the end and is then the mean of what it covers.

    Rows first, then columns: "same" has such a window for an even number of them, but one at each end for an odd number.
    """
    rows, columns = ("valid" if side % 2 and side > 1 else "same" for side in x.shape[1:3])
    x = layers.AveragePooling2D((3, 1), (2, 1), padding=rows, name=f"{name}_rows")(x)
    return layers.AveragePooling2D((1, 3), (1, 2), padding=columns, name=f"{name}_columns")(x)


class Stage(NamedTuple):
    """A NiN block (a convolution and 1x1 convolutions, each with ReLU) and what comes behind it."""

    kernel_size: int
    filters: tuple[int | None, int | None, int | None]
    pool: Pool | None = None
    dropout: float | None = None
    strides: int = 1
    padding: int | None = None
    """Of the first convolution, on each side; None keeps the size at strides 1."""


# 224x224: stages at 54, 26, 12, 5 before their pooling, as d2l has them. The paper does not tell its ImageNet network.
# 32x32: stages at 32, 16, 8; figure 2, with the sizes of the authors' own code.
NINS = {
    "nin": (
        Stage(11, (96, 96, 96), maximum, strides=4, padding=0),
        Stage(5, (256, 256, 256), maximum),
        Stage(3, (384, 384, 384), maximum, dropout=0.5),
        Stage(3, (CLASSES, CLASSES, CLASSES)),
    ),
    "nin_cifar": (
        Stage(5, (192, 160, 96), maximum_over_end, dropout=0.5),
        Stage(5, (192, 192, 192), average_over_end, dropout=0.5),
        Stage(3, (192, 192, CLASSES)),
    ),
}


def nin(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits, never negative; a row of `NINS`.

    The last stage has a map for each class, whose mean is the logit; section 3.2.
    """
    inputs, x = blocks.images(input_shape)
    for number, stage in enumerate(NINS[variant], start=1):
        x = _stage(x, stage, num_classes, name=f"stage{number}")
    # Never in half precision, as blocks.logits.
    logits = layers.GlobalAveragePooling2D(dtype=keras.config.dtype_policy().variable_dtype, name="logits")(x)
    return keras.Model(inputs, logits, name=variant)


def _stage(x: Tensor, stage: Stage, num_classes: int, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H', W', the last of its filters)."""
    first, second, third = (num_classes if filters is CLASSES else filters for filters in stage.filters)
    x = blocks.conv_relu(x, first, stage.kernel_size, stage.strides, padding=stage.padding, name=f"{name}_1")
    x = blocks.conv_relu(x, second, 1, name=f"{name}_2")
    x = blocks.conv_relu(x, third, 1, name=f"{name}_3")
    if stage.pool is not None:
        x = stage.pool(x, name=f"{name}_pool")
    return x if stage.dropout is None else blocks.dropout(x, stage.dropout, name=f"{name}_dropout")
