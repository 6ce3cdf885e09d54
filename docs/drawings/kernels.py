"""多个输出通道 and 二维卷积层的参数: a set of kernels and a bias for each output channel, and what that counts up to."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch, shapes
from docs.drawings.sheet import ACCENT, INK, MUTED, SOFT, Place, Sheet, block, paint

INPUTS, OUTPUTS, SIDE = 6, 16, 5
"""LeNet's second convolution: channels in and out, and the side of its kernels."""
DOT, KERNEL, SET = 5.0, 32.0, 34.0
"""px from one dot, kernel, and set of kernels to the next."""


def draw_outputs() -> Figure:
    """The two input channels of `channels.draw_channels`, and three outputs."""
    x = np.stack([np.arange(9.0), np.arange(1.0, 10)]).reshape(2, 3, 3)
    kernel = np.stack([np.arange(4.0), np.arange(1.0, 5)]).reshape(2, 2, 2)
    kernels, biases = np.stack([kernel, kernel + 1, kernel + 2]), np.arange(1.0, 4)
    outputs = scratch.conv2d(x, kernels, biases)
    sheet = Sheet(860, 470)
    sheet.title(
        "Two input channels, three output channels",
        "Each output has a kernel for every input channel, and one bias: 3 · (2 · 2 · 2 + 1) = 27 numbers to learn.",
    )
    for channel, (plane, top) in enumerate(zip(x, (146, 292), strict=True), start=1):
        sheet.grid((40, top), plane, colours=paint(block(0, 0, 2, 2), SOFT), label=f"channel {channel}")
    for number, top in enumerate((110, 232, 354)):
        sheet.arrow((166, 270), (220, top + 34))
        _output(sheet, (244, top), kernels[number], biases[number], outputs[number])
        first = [scratch.corr2d(plane, weights)[0, 0] for plane, weights in zip(x, kernels[number], strict=True)]
        terms = " + ".join(f"{term:.0f}" for term in (*first, biases[number]))
        sheet.text((700, top + 34), f"{terms} = {outputs[number, 0, 0]:.0f}", ha="left", color=ACCENT)
        sheet.text((614, top - 13), f"output {number + 1}", color=MUTED)
    return sheet.figure


def draw_parameters() -> Figure:
    """Every number of LeNet's second convolution as a dot."""
    sheet = Sheet(840, 356)
    total = shapes.conv_parameters(SIDE, INPUTS, OUTPUTS)
    sheet.title(
        f"LeNet's second convolution has {total:,} parameters",
        "Each dot is a number that is learned. A column makes one output channel.",
    )
    for output in range(OUTPUTS):
        _dots(sheet, 40 + SET * output, 84)
    sheet.text((602, 84 + INPUTS * KERNEL / 2), _weights(), ha="left")
    sheet.text((602, 297), "one bias each", ha="left", color=ACCENT)
    sheet.text((40, 332), f"{OUTPUTS} · ({INPUTS} · {SIDE} · {SIDE} + 1) = {total:,}", ha="left", size=13)
    return sheet.figure


def _output(sheet: Sheet, at: Place, kernels: scratch.Array, bias: float, output: scratch.Array) -> None:
    """A set of kernels, its bias, and the map that they make."""
    left, top = at
    for channel, weights in enumerate(kernels):
        sheet.grid((left + 110 * channel, top), weights, label=f"channel {channel + 1} ⋆")
    sheet.text((left + 89, top + 34), "+", size=16)
    sheet.text((left + 200, top + 34), "+", size=16)
    sheet.grid((left + 226, top + 17), np.array([[bias]]), label="bias")
    sheet.text((left + 298, top + 34), "=", size=16)
    sheet.grid((left + 336, top), output, colours={(0, 0): SOFT})


def _dots(sheet: Sheet, left: float, top: float) -> None:
    """The kernels of one output channel below each other, and its bias below them."""
    kernel, row, column = np.indices((INPUTS, SIDE, SIDE)).reshape(3, -1)
    x, y = left + DOT * column, top + KERNEL * kernel + DOT * row
    sheet.axes.scatter(x, y, s=9, marker="s", color=INK, alpha=0.55, linewidths=0)
    sheet.axes.scatter([left + DOT * (SIDE - 1) / 2], [297], s=46, marker="s", color=ACCENT, linewidths=0)


def _weights() -> str:
    return f"{INPUTS} kernels of {SIDE}x{SIDE} each,\none for each input channel:\n{INPUTS * SIDE * SIDE} weights"
