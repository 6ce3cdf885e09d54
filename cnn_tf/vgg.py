"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014 (arXiv:1409.1556);
lecture note, section "VGG".

With batch normalisation, which came a year later, as torchvision has it.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from cnn_tf import blocks
from cnn_tf.blocks import Tensor

Stages = tuple[tuple[int, int], ...]
"""(convolutions, filters) of each."""

HIDDEN_UNITS = 4096

# Columns of table 1.
A: Stages = ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
B: Stages = ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512))
D: Stages = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
E: Stages = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


class VGG(NamedTuple):
    """A column of table 1."""

    stages: Stages
    normalise: bool = False
    """Batch normalisation between convolution and ReLU."""
    adapt: bool = True
    """Average the encoder's output to 7x7 if the picture's size makes it another."""


# 224x224: stages at 112, 56, 28, 14, 7.
VGGS = {
    "vgg11": VGG(A),
    "vgg13": VGG(B),
    "vgg16": VGG(D),
    "vgg19": VGG(E),
    "vgg11_bn": VGG(A, normalise=True),
    "vgg13_bn": VGG(B, normalise=True),
    "vgg16_bn": VGG(D, normalise=True),
    "vgg19_bn": VGG(E, normalise=True),
    "vgg11_d2l": VGG(((1, 16), (1, 32), (2, 64), (2, 128), (2, 128)), adapt=False),
}


def vgg(variant: str, input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits; a row of `VGGS`."""
    row = VGGS[variant]
    inputs, x = blocks.images(input_shape)
    for number, (num_convs, filters) in enumerate(row.stages, start=1):
        x = _stage(x, num_convs, filters, row.normalise, name=f"stage{number}")
    if row.adapt:
        x = blocks.adaptive_average_pool(x, 7, name="head_pool")
    x = layers.Flatten(name="head_flatten")(x)
    for number in (1, 2):
        x = blocks.relu(blocks.dense(x, HIDDEN_UNITS, name=f"head_dense{number}"), name=f"head_dense{number}")
        x = blocks.dropout(x, 0.5, name=f"head_dropout{number}")
    return keras.Model(inputs, blocks.logits(x, num_classes), name=variant)


def _stage(x: Tensor, num_convs: int, filters: int, normalise: bool, *, name: str) -> Tensor:
    """(B, H, W, C) -> (B, H/2, W/2, filters): 3x3 convolutions, then a maximum over 2x2."""
    for number in range(1, num_convs + 1):
        x = blocks.conv(x, filters, 3, name=f"{name}_{number}_conv")
        if normalise:
            x = blocks.batch_norm(x, name=f"{name}_{number}")
        x = blocks.relu(x, name=f"{name}_{number}")
    return blocks.max_pool(x, 2, name=f"{name}_pool")
