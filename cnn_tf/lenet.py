"""LeNet-5: LeCun et al., "Gradient-based learning applied to document recognition", 1998; lecture note, section "LeNet".

Both rows follow d2l.ai's classroom form: sigmoids, plain average pooling, a softmax classifier (here: logits), where the
paper has scaled tanh, trainable sub-sampling, a sparsely connected third layer and an RBF output.
"""

from __future__ import annotations

import keras
from keras import layers

from cnn_tf import blocks, shapes

# variant -> (padding of the first convolution, batch normalisation after each convolution and hidden layer).
# The second row is d2l's section on batch normalisation: its first convolution has no padding, so 28x28 pictures leave the
# encoder as 16x4x4 instead of 16x5x5, and it has fewer parameters in spite of the normalisation (44,878 against 61,706).
VARIANTS = {
    "lenet5": ("same", False),
    "lenet5_bn": ("valid", True),
}

# d2l's moving averages (English edition): nine parts old, one part new.
MOMENTUM = 0.9
EPSILON = 1e-5


def lenet(variant: str, input_shape: tuple[int, int, int] = (28, 28, 1), num_classes: int = 10) -> keras.Model:
    """(B, H, W, C) pictures with values 0..255 -> (B, num_classes) logits.

    28x28x1, lenet5: conv 6@28, pool 14, conv 16@10, pool 5, dense 120, 84, num_classes.  lenet5_bn: 24, 12, 8, 4.

    Raises ValueError if the picture is too small for the convolutions.
    """
    padding, normalise = VARIANTS[variant]
    _check_size(variant, input_shape, padding)
    inputs, x = blocks.images(input_shape)
    for number, (filters, pad) in enumerate(((6, padding), (16, "valid")), start=1):
        x = layers.Conv2D(filters, 5, padding=pad, name=f"conv{number}")(x)
        x = _activate(x, normalise, name=f"conv{number}")
        x = layers.AveragePooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate((120, 84), start=1):
        x = layers.Dense(units, name=f"dense{number}")(x)
        x = _activate(x, normalise, name=f"dense{number}")
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name=variant)


def _activate(x: keras.KerasTensor, normalise: bool, *, name: str) -> keras.KerasTensor:
    if normalise:
        x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)


def _check_size(variant: str, input_shape: tuple[int, int, int], padding: str) -> None:
    first = 4 if padding == "same" else 0
    smallest = next(size for size in range(1, 100) if _encoded_size(size, first) > 0)
    if min(input_shape[:2]) < smallest:
        raise ValueError(
            f"{variant} needs pictures of at least {smallest}x{smallest}: smaller ones vanish in its pooling. "
            f"Received: {input_shape[0]}x{input_shape[1]}."
        )


def _encoded_size(size: int, first_padding: int) -> int:
    """Height or width after the encoder; 0 where a layer has nothing left to work on."""
    try:
        for padding in (first_padding, 0):
            size = shapes.output_size(size, 5, padding=padding)
            size = shapes.output_size(size, 2, strides=2)
    except ValueError:
        return 0
    return size
