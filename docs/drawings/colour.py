"""通道数: what the three channels of a colour picture tell, and what is lost if it is turned grey."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf.scratch import Array
from docs.drawings.sheet import LINE, MUTED, Sheet

RED, GREEN, BLUE = 0.299, 0.587, 0.114
"""What each channel counts in a grey picture; ITU-R BT.601."""
TOMATO = np.array([0.85, 0.25, 0.25])
LEAF = np.array([0.10, 0.6417, 0.20])
"""As light as the tomato: both turn into the same grey."""


def draw_colour() -> Figure:
    """A picture, its channels, and its grey."""
    x = tomato()
    sheet, side = Sheet(860, 256), 130.0
    sheet.title(
        "Turned grey, the tomato is gone", "Light means much of the colour. Only the channels tell red from green."
    )
    axes = sheet.chart((24, 96), (side, side))
    axes.imshow(x, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=LINE)
    sheet.text((24 + side / 2, 84), "picture", color=MUTED)
    for number, name in enumerate(("red", "green", "blue")):
        sheet.picture((196 + 160 * number, 96), 1 - x[..., number], side, (0, 1), label=f"channel {number + 1}: {name}")
    sheet.picture((700, 96), 1 - grey(x), side, (0, 1), label="grey")
    return sheet.figure


def tomato(size: int = 26) -> Array:
    """(size, size, 3), values 0..1: a red disc among green."""
    row, column = np.indices((size, size)) - (size - 1) / 2
    disc = np.hypot(row, column) < size / 3
    return np.where(disc[..., np.newaxis], TOMATO, LEAF)


def grey(x: Array) -> Array:
    """(H, W, 3) -> (H, W): how light each pixel looks."""
    return np.asarray(x @ np.array([RED, GREEN, BLUE]))
