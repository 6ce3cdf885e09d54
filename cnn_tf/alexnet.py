"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012 (no arXiv
id); lecture note, section "AlexNet".

`alexnet` is torchvision's, after Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014
(arXiv:1404.5997): fewer filters, one tower, no normalisation. The others have the paper's filters.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor
from cnn_tf.layers import LocalResponseNormalization

HIDDEN_UNITS = 4096


class AlexNet(NamedTuple):
    """What differs between the forms; as it stands, the paper's network in one tower, for pictures of 227x227."""

    filters: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    """Of the five convolutions."""
    padding: int = 0
    """Of the first one, on each side."""
    towers: int = 1
    """Parts, one a GPU, that see each other's channels only in the third convolution and the head; section 3.2."""
    normalise: bool = True
    """Local response normalisation in the first two stages; section 3.3."""
    adapt: bool = False
    """Average the encoder's output to 6x6 if the picture's size makes it another."""
    dropout_first: bool = False
    """Dropout in front of the two hidden layers, not behind."""


# The paper prints 224x224, from which 55x55 does not come out; 227x227 does, or two rows of padding.
ALEXNETS = {
    "alexnet": AlexNet((64, 192, 384, 256, 256), padding=2, normalise=False, adapt=True, dropout_first=True),
    "alexnet_paper": AlexNet(towers=2),
    "alexnet_one_tower": AlexNet(),
    "alexnet_d2l": AlexNet(padding=1, normalise=False),
}


def alexnet(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `ALEXNETS`.

    Stages at 27, 13, 13, 13, 6 (d2l's at 26, 12, 12, 12, 5), two hidden layers.
    """
    row = ALEXNETS[variant]
    inputs, x = blocks.images(input_shape)
    x = _stages(x, row)
    if row.adapt:
        x = blocks.adaptive_average_pool(x, 6, name="head_pool")
    x = layers.Flatten(name="head_flatten")(x)
    for number in (1, 2):
        x = _hidden(x, row, number)
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def _stages(x: Tensor, row: AlexNet) -> Tensor:
    """A stage a convolution, as figure 2 has it."""
    first, second, third, fourth, fifth = row.filters
    x = blocks.conv_relu(x, first, 11, 4, padding=row.padding, name="stage1")
    x = _normalise_and_pool(x, row, name="stage1")
    x = _conv_in_towers(x, second, 5, row, name="stage2")
    x = _normalise_and_pool(x, row, name="stage2")
    x = blocks.conv_relu(x, third, 3, name="stage3")
    x = _conv_in_towers(x, fourth, 3, row, name="stage4")
    x = _conv_in_towers(x, fifth, 3, row, name="stage5")
    return blocks.max_pool(x, 3, name="stage5_pool")


def _conv_in_towers(x: Tensor, filters: int, kernel_size: int, row: AlexNet, *, name: str) -> Tensor:
    return blocks.relu(blocks.conv(x, filters, kernel_size, groups=row.towers, name=f"{name}_conv"), name=name)


def _normalise_and_pool(x: Tensor, row: AlexNet, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, about H/2, about W/2, C): windows of 3x3 that overlap; section 3.4."""
    if row.normalise:
        x = LocalResponseNormalization(name=f"{name}_lrn")(x)
    return blocks.max_pool(x, 3, name=f"{name}_pool")


def _hidden(x: Tensor, row: AlexNet, number: int) -> Tensor:
    """(B, C) -> (B, HIDDEN_UNITS)."""
    dense, dropout = f"head_dense{number}", f"head_dropout{number}"
    if row.dropout_first:
        x = blocks.dropout(x, 0.5, name=dropout)
    x = blocks.relu(blocks.dense(x, HIDDEN_UNITS, name=dense), name=dense)
    return x if row.dropout_first else blocks.dropout(x, 0.5, name=dropout)
