"""填充和步幅: rows around the input, steps between windows, and what both do to a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cnn_tf import scratch
from cnn_tf.scratch import Array
from docs.drawings.sheet import CELL, FILL, INK, MUTED, PAPER, SOFT, Sheet, block, paint

BOOT: Array = np.asarray(Image.open(Path(__file__).with_name("ankle_boot.png")), np.float64) / 255
"""The first picture of Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017; MIT licence): (28, 28), 0 is white."""

WINDOWS = {(0, 0): "#fae8e4", (0, 1): "#f0c3b8", (1, 0): "#e59d8d", (1, 1): "#d87763"}
"""A tint for each of the windows that the strides lead to; grey is padding."""


def draw_padding() -> Figure:
    """Two rows and two columns more: 3x3 gives 4x4 under a 2x2 kernel."""
    x, kernel = np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2)
    padding = ((1, 1), (1, 1))
    ring = paint(block(0, 0, 5, 5), FILL) | paint(block(1, 1, 3, 3), PAPER)
    sheet = Sheet(640, 316)
    sheet.title(
        "Padding: zeros around the input", "p = 2 rows in total, one on each side: 3 - 2 + 2 + 1 = 4 rows come out."
    )
    sheet.grid((40, 110), np.pad(x, 1), colours=ring | paint(block(0, 0, 2, 2), SOFT), label="input 3x3, padded to 5x5")
    sheet.text((248, 195), "⋆", size=18)
    sheet.grid((286, 161), kernel, label="kernel 2x2")
    sheet.text((392, 195), "=", size=18)
    sheet.grid((432, 127), scratch.corr2d(x, kernel, padding=padding), colours={(0, 0): SOFT}, label="output 4x4")
    return sheet.figure


def draw_strides() -> Figure:
    """The note's strides of 3 rows and 2 columns: four windows, four outputs."""
    x, kernel = np.pad(np.arange(9.0).reshape(3, 3), 1), np.arange(4.0).reshape(2, 2)
    output = scratch.corr2d(x, kernel, strides=(3, 2))
    colours = paint(block(0, 0, 5, 5), FILL) | paint(block(1, 1, 3, 3), PAPER)
    colours |= {cell: tint for (i, j), tint in WINDOWS.items() for cell in block(3 * i, 2 * j, *kernel.shape)}
    sheet = Sheet(640, 316)
    sheet.title(
        "Strides: how far the window moves",
        "3 rows down, 2 columns to the right: floor((3 - 2 + 2 + 3) / 3) = 2 rows come out.",
    )
    sheet.grid((40, 110), x, colours=colours, label="input 3x3 (outlined), padded to 5x5")
    sheet.box((40 + CELL, 110 + CELL), (3 * CELL, 3 * CELL), edge=INK, lw=2)
    sheet.text((248, 195), "⋆", size=18)
    sheet.grid((286, 161), kernel, label="kernel 2x2")
    sheet.text((392, 195), "=", size=18)
    sheet.grid((432, 161), output, colours=WINDOWS, label="output 2x2")
    return sheet.figure


def draw_shrinking() -> Figure:
    """The same picture through three layers, without padding, with it, and with strides."""
    rows = (
        ("no padding", "4 pixels fewer each time", ((0, 0), (0, 0)), 1),
        ("padding p = 4", "the size stays", ((2, 2), (2, 2)), 1),
        ("padding p = 4, strides 2", "half the size each time", ((2, 2), (2, 2)), 2),
    )
    sheet, dot = Sheet(840, 578), 4.6
    sheet.title("A picture through three 5x5 convolutions (a blur)", "Every pixel is drawn equally large.")
    for number, (name, note, padding, strides) in enumerate(rows):
        middle = 150 + 166 * number
        sheet.text((24, middle - 9), name, ha="left", weight="bold")
        sheet.text((24, middle + 10), note, ha="left", color=MUTED)
        for column, x in enumerate(blurred(padding, strides)):
            side, left = dot * len(x), 290 + 150 * column
            sheet.picture((left - side / 2 - 20, middle - side / 2), x, side, (0, 1))
            sheet.text((left - 20, middle + 75), f"{len(x)}x{len(x)}", color=MUTED)
    return sheet.figure


def blurred(padding: scratch.Padding, strides: int) -> list[Array]:
    """The boot, and what comes out of one, two and three layers."""
    weights = np.array([1.0, 4, 6, 4, 1]) / 16
    kernel = np.outer(weights, weights)

    pictures = [BOOT]
    for _ in range(3):
        pictures.append(scratch.corr2d(pictures[-1], kernel, padding=padding, strides=(strides, strides)))
    return pictures
