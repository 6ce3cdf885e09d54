"""通道数: sums over input channels, and the 1x1 convolution as a matrix product."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from docs.drawings.sheet import ACCENT, SOFT, Sheet, block, paint


def draw_channels() -> Figure:
    """The note's two input channels, 56 in the first place."""
    x = np.stack([np.arange(9.0), np.arange(1.0, 10)]).reshape(2, 3, 3)
    kernel = np.stack([np.arange(4.0), np.arange(1.0, 5)]).reshape(2, 2, 2)
    sheet, window = Sheet(720, 370), paint(block(0, 0, 2, 2), SOFT)
    sheet.title("Two input channels, one output", "Each channel has its own kernel. What they give is added.")
    for channel, (plane, weights, top) in enumerate(zip(x, kernel, (104, 244), strict=True), start=1):
        sheet.grid((40, top), plane, colours=window, label=f"channel {channel}")
        sheet.text((178, top + 51), "⋆", size=18)
        sheet.grid((212, top + 17), weights, label="its kernel")
        sheet.text((312, top + 51), "=", size=18)
        output = scratch.corr2d(plane, weights)
        sheet.grid((346, top + 17), output, colours={(0, 0): SOFT}, label=f"from channel {channel}")
    sheet.text((380, 216), "+", size=20)
    sheet.text((480, 224), "=", size=18)
    output = scratch.corr2d_multi_in(x, kernel)
    sheet.grid((546, 190), output, colours={(0, 0): SOFT}, label="output")
    sheet.text((580, 284), "19 + 37 = 56", size=12, color=ACCENT)
    return sheet.figure


def draw_conv1x1() -> Figure:
    """Three channels of 2x2 pixels become two: each pixel's three numbers times the same matrix."""
    x, weights = np.arange(1.0, 13).reshape(3, 2, 2), np.array([[1.0, 0, 1], [2, 1, 0]])
    output = scratch.conv1x1(x, weights, np.zeros(2))
    sheet, cell = Sheet(820, 372), 30.0
    sheet.title(
        "A 1x1 convolution is a matrix product",
        "A column is a pixel, a row a channel. Pixels do not see each other; channels are mixed.",
    )
    for channel, plane in enumerate(x):
        sheet.grid((40, 104 + 88 * channel), plane, colours={(0, 1): SOFT}, label=f"channel {channel + 1}", cell=cell)
    sheet.arrow((116, 222), (156, 222))
    sheet.grid((186, 207), weights, label="weights 2x3", cell=cell)
    sheet.text((302, 237), "·", size=22)
    sheet.grid((328, 192), x.reshape(3, 4), colours=paint(block(0, 1, 3, 1), SOFT), label="pixels 3x4", cell=cell)
    sheet.text((474, 237), "=", size=18)
    sheet.grid((500, 207), output.reshape(2, 4), colours=paint(block(0, 1, 2, 1), SOFT), label="outputs 2x4", cell=cell)
    sheet.arrow((634, 237), (676, 237))
    for channel, plane in enumerate(output):
        sheet.grid((706, 148 + 88 * channel), plane, colours={(0, 1): SOFT}, label=f"output {channel + 1}", cell=cell)
    sheet.text((410, 350), "the second pixel: 1·2 + 0·6 + 1·10 = 12 and 2·2 + 1·6 + 0·10 = 10", color=ACCENT)
    return sheet.figure
