"""What several papers share."""

from __future__ import annotations

import keras
from keras import layers


def images(input_shape: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of every network: (the input itself, values scaled to 0..1), both (B, H, W, C).

    It takes uint8 or float pictures with values 0..255; scaling is a layer, so a model and its preprocessing cannot part.
    """
    inputs = keras.Input(input_shape, name="images")
    return inputs, layers.Rescaling(1 / 255, name="scale")(inputs)
