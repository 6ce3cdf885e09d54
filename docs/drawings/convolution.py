"""卷积层: what a kernel computes, that it is a dense layer with few weights, and that gradient descent finds it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from cnn_tf.scratch import Array
from docs.drawings.sheet import ACCENT, FILL, MUTED, SOFT, Sheet, block, end_label, paint

BARS = np.tile([1.0, 1, 0, 0, 0, 0, 1, 1], (3, 1))
"""A picture with two vertical edges."""


def draw_correlation() -> Figure:
    """One window, multiplied by the kernel and summed, is one number of the output."""
    x, kernel = np.arange(9.0).reshape(3, 3), np.arange(4.0).reshape(2, 2)
    sheet = Sheet(560, 250)
    sheet.title(
        "A window of the input, times the kernel, summed", "The next output is one column (or one row) further."
    )
    sheet.grid((40, 110), x, colours=paint(block(0, 0, 2, 2), SOFT), label="input 3x3")
    sheet.text((190, 161), "⋆", size=18)
    sheet.grid((232, 127), kernel, label="kernel 2x2")
    sheet.text((346, 161), "=", size=18)
    sheet.grid((392, 127), scratch.corr2d(x, kernel), colours={(0, 0): SOFT}, label="output 2x2")
    sheet.text((280, 230), "0·0 + 1·1 + 3·2 + 4·3 = 19", size=12, color=ACCENT)
    return sheet.figure


def draw_dense() -> Figure:
    """The same as a matrix: the kernel at each of its places, zeros elsewhere."""
    x, kernel = np.arange(1.0, 10).reshape(3, 3), np.array([[1.0, 2], [3, 4]])
    weights = scratch.dense_weights(kernel, x.shape)
    used = [(int(i), int(j)) for i, j in np.argwhere(weights)]
    sheet, cell = Sheet(620, 356), 26.0
    sheet.title(
        "A convolution is a dense layer that shares its weights", "36 weights, of which 20 are always 0 and 4 differ."
    )
    sheet.grid((40, 146), weights, colours=paint(used, SOFT), label="dense weights 4x9", cell=cell, size=11)
    sheet.text((302, 198), "·", size=22)
    sheet.grid((334, 96), x.reshape(9, 1), label="input, as a column", cell=cell, size=11)
    sheet.text((402, 198), "=", size=18)
    sheet.grid((444, 146), (weights @ x.ravel()).reshape(4, 1), label="output", cell=cell, size=11)
    sheet.grid((532, 172), kernel, colours=paint(block(0, 0, 2, 2), SOFT), label="the kernel", cell=cell, size=11)
    return sheet.figure


def draw_edges() -> Figure:
    """A kernel that finds edges, and gradient descent that finds the kernel."""
    edges = scratch.corr2d(BARS, np.array([[1.0, -1.0]]))
    sheet, cell = Sheet(840, 330), 24.0
    sheet.title(
        "An edge detector, learned", "Gradient descent is shown the picture and the edges. It is not shown the kernel."
    )
    found = {(int(i), int(j)): SOFT for i, j in np.argwhere(edges)}
    sheet.grid(
        (52, 110),
        BARS,
        colours=paint([(int(i), int(j)) for i, j in np.argwhere(BARS)], FILL),
        label="picture: 1 is ink",
        cell=cell,
        size=11,
    )
    sheet.grid((64, 222), edges, colours=found, label="edges: 1 ink ends, -1 ink begins", cell=cell, size=11)
    kernels = np.array(learn_kernel(BARS, edges))
    axes = sheet.lines((400, 96), (320, 176), across="step")
    axes.set(xlim=(0, len(kernels) - 1), ylim=(-1.15, 1.15), yticks=[-1, 0, 1])
    for values, colour, name in zip(kernels.T, (ACCENT, MUTED), ("left weight", "right weight"), strict=True):
        axes.plot(values, color=colour, lw=2, clip_on=False)
        end_label(axes, values[-1], f"{name} {values[-1]:.2f}", colour)
    return sheet.figure


def learn_kernel(x: Array, y: Array, *, steps: int = 40, learning_rate: float = 1.0) -> list[Array]:
    """The two weights (2,) of a 1x2 kernel before each step and in the end, from 0: they learn to make y out of x.

    The gradient of the mean squared error is itself a cross-correlation, of the input with the error.
    """
    kernels = [np.zeros((1, 2))]
    for _ in range(steps):
        error = scratch.corr2d(x, kernels[-1]) - y
        kernels.append(kernels[-1] - learning_rate * 2 / error.size * scratch.corr2d(x, error))
    return [kernel.ravel() for kernel in kernels]
