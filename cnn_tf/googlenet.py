"""GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2014 (arXiv:1409.4842); lecture note, section "含并行连结的网络
GoogLeNet".

The note calls it the first CNN with more than 100 layers. It is 22 layers with weights deep (27 with poolings); all its
branches together have 57 convolutions and one fully connected layer. "About 100" are the paper's building blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import keras
from keras import layers

from cnn_tf import blocks, options
from cnn_tf.blocks import Tensor
from cnn_tf.layers import LocalResponseNormalization


class Inception(NamedTuple):
    """A row of table 1: the filters of the convolutions in its four branches, named as there."""

    conv_1x1: int
    conv_3x3_reduce: int
    conv_3x3: int
    conv_5x5_reduce: int
    conv_5x5: int
    pool_proj: int


# Stage and letter, as in table 1. 224x224: stage3 at 28, stage4 at 14, stage5 at 7.
INCEPTIONS = {
    "stage3_a": Inception(64, 96, 128, 16, 32, 32),
    "stage3_b": Inception(128, 128, 192, 32, 96, 64),
    "stage4_a": Inception(192, 96, 208, 16, 48, 64),
    "stage4_b": Inception(160, 112, 224, 24, 64, 64),
    "stage4_c": Inception(128, 128, 256, 24, 64, 64),
    "stage4_d": Inception(112, 144, 288, 32, 64, 64),
    "stage4_e": Inception(256, 160, 320, 32, 128, 128),
    "stage5_a": Inception(256, 160, 320, 32, 128, 128),
    "stage5_b": Inception(384, 192, 384, 48, 128, 128),
}

# The auxiliary classifiers stand behind these blocks.
AUXILIARY_HEADS = {"stage4_a": "aux1", "stage4_d": "aux2"}


class Conv(Protocol):
    """Convolution and ReLU: (B, H, W, C) -> (B, H/strides, W/strides, filters)."""

    def __call__(self, x: Tensor, filters: int, kernel_size: int, strides: int = 1, *, name: str) -> Tensor:
        """Adds the layers."""


class Pool(Protocol):
    """(B, H, W, C) -> (B, H/2, W/2, C)."""

    def __call__(self, x: Tensor, size: int, *, name: str) -> Tensor:
        """Adds the layers."""


def average_5x5(x: Tensor, *, name: str) -> Tensor:
    """(B, 14, 14, C) -> (B, 4, 4, C), as the paper has it in front of the auxiliary classifiers."""
    return blocks.average_pool(x, 5, 3, name=name)


class GoogLeNet(NamedTuple):
    """What differs between the forms; as it stands, the paper's."""

    conv: Conv = blocks.conv_relu
    kernel_size_5x5: int = 5
    """Of what the paper calls 5x5; 3 in torchvision, a mistake that its published weights keep."""
    pool: Pool = partial(blocks.max_pool, ceil=True)
    pool_sizes: tuple[int, int, int, int] = (3, 3, 3, 3)
    """Behind the stages 1 to 4."""
    normalise: bool = False
    """Local response normalisation behind the first pooling and in front of the second, as the paper's figure 3 and Caffe."""
    dropout: float | None = None
    auxiliary_pool: Callable[..., Tensor] = average_5x5


GOOGLENETS = {
    "googlenet": GoogLeNet(
        partial(blocks.conv_bn, epsilon=1e-3),
        kernel_size_5x5=3,
        pool_sizes=(3, 3, 3, 2),
        dropout=0.2,
        auxiliary_pool=partial(blocks.adaptive_average_pool, size=4),
    ),
    "googlenet_paper": GoogLeNet(normalise=True, dropout=0.4),
    "googlenet_d2l": GoogLeNet(pool=partial(blocks.max_pool, padding=1)),
}


def googlenet(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `GOOGLENETS`.

    With the option auxiliary_heads: [logits, those of the first auxiliary classifier, those of the second].
    """
    row = GOOGLENETS[variant]
    inputs, x = blocks.images(input_shape)
    x = _stem(x, row)
    auxiliaries = []
    for name, filters in INCEPTIONS.items():
        x = inception(x, filters, row, name=name)
        if name in AUXILIARY_HEADS and options.current().auxiliary_heads:
            auxiliaries.append(auxiliary(x, num_classes, row, name=AUXILIARY_HEADS[name]))
        if name == "stage3_b":
            x = row.pool(x, row.pool_sizes[2], name="stage3_pool")
        if name == "stage4_e":
            x = row.pool(x, row.pool_sizes[3], name="stage4_pool")
    x = blocks.global_average(x)
    if row.dropout is not None:
        x = blocks.dropout(x, row.dropout, name="head_dropout")
    logits = blocks.logits(x, num_classes)
    return keras.Model(inputs, [logits, *auxiliaries] if auxiliaries else logits, name=variant)


def inception(x: Tensor, filters: Inception, row: GoogLeNet, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H, W, sum of what the four branches have in the end); figure 2 (b)."""
    one = row.conv(x, filters.conv_1x1, 1, name=f"{name}_1x1")
    three = row.conv(x, filters.conv_3x3_reduce, 1, name=f"{name}_3x3_reduce")
    three = row.conv(three, filters.conv_3x3, 3, name=f"{name}_3x3")
    five = row.conv(x, filters.conv_5x5_reduce, 1, name=f"{name}_5x5_reduce")
    five = row.conv(five, filters.conv_5x5, row.kernel_size_5x5, name=f"{name}_5x5")
    pool = blocks.max_pool(x, 3, 1, padding=1, name=f"{name}_pool")
    pool = row.conv(pool, filters.pool_proj, 1, name=f"{name}_pool_proj")
    return layers.Concatenate(name=f"{name}_concat")([one, three, five, pool])


def auxiliary(x: Tensor, num_classes: int, row: GoogLeNet, *, name: str) -> Tensor:
    """(B, 14, 14, C) -> (B, num_classes): a classifier that brings gradients to the middle of the network in training."""
    x = row.auxiliary_pool(x, name=f"{name}_pool")
    x = layers.Flatten(name=f"{name}_flatten")(row.conv(x, 128, 1, name=name))
    x = blocks.relu(blocks.dense(x, 1024, name=f"{name}_dense"), name=f"{name}_dense")
    x = blocks.dropout(x, 0.7, name=f"{name}_dropout")
    return blocks.logits(x, num_classes, name=f"{name}_logits")


def _stem(x: Tensor, row: GoogLeNet) -> Tensor:
    """(B, H, W, C) -> (B, H/8, W/8, 192): stages 1 and 2."""
    x = row.conv(x, 64, 7, 2, name="stage1")
    x = _normalise(row.pool(x, row.pool_sizes[0], name="stage1_pool"), row, name="stage1")
    x = row.conv(x, 64, 1, name="stage2_reduce")
    x = _normalise(row.conv(x, 192, 3, name="stage2"), row, name="stage2")
    return row.pool(x, row.pool_sizes[1], name="stage2_pool")


def _normalise(x: Tensor, row: GoogLeNet, *, name: str) -> Tensor:
    """Caffe's numbers, as the paper gives none: it divides alpha, 1e-4, by the size and adds 1."""
    return LocalResponseNormalization(size=5, k=1.0, alpha=1e-4 / 5, name=f"{name}_lrn")(x) if row.normalise else x
