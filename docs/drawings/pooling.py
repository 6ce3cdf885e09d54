"""池化: maximum against average, and what a shift by one pixel does with and without pooling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from docs.drawings.padding import BOOT
from docs.drawings.sheet import ACCENT, FILL, MUTED, SOFT, Sheet, block, paint

Pool = Callable[..., scratch.Array]


def draw_maximum() -> Figure:
    """The note's numbers, and a boot."""
    return _pooled("The maximum keeps the strongest", "maximum", "max(0, 1, 3, 4) = 4", scratch.max_pool2d)


def draw_average() -> Figure:
    """The same by the mean."""
    return _pooled(
        "The average keeps a little of everything", "average", "(0 + 1 + 3 + 4) / 4 = 2", scratch.average_pool2d
    )


def draw_shift() -> Figure:
    """An edge, and the same edge one pixel further: the detector's output moves, the pooled one stays."""
    sheet, cell = Sheet(880, 372), 26.0
    sheet.title(
        "The edge moves by one pixel, the pooled output does not",
        "Outlined: the same place in both rows, where a later layer looks.",
    )
    for name, ink, top in (("an edge", 3, 110), ("one pixel to the right", 4, 248)):
        x = np.tile(np.where(np.arange(7) < ink, 1.0, 0), (4, 1))
        edges = scratch.corr2d(x, np.array([[1.0, -1.0]]))
        pooled = scratch.max_pool2d(edges[np.newaxis], (2, 2))[0]
        sheet.text((24, top + 2 * cell), name.replace(" to ", "\nto "), ha="left", weight="bold")
        sheet.grid((140, top), x, colours=_marked(x, FILL), label="picture", cell=cell, size=11)
        sheet.arrow((334, top + 2 * cell), (366, top + 2 * cell))
        sheet.grid(
            (380, top), edges, colours=_marked(edges, SOFT), label="edges, by the kernel [1, -1]", cell=cell, size=11
        )
        sheet.box((380 + 2 * cell, top), (cell, cell), edge=ACCENT, lw=2.6, zorder=5)
        sheet.arrow((548, top + 2 * cell), (580, top + 2 * cell))
        sheet.grid((594, top + 6), pooled, colours=_marked(pooled, SOFT), label="maximum of 2x2", cell=40, size=12)
        sheet.box((634, top + 6), (40, 40), edge=ACCENT, lw=2.6, zorder=5)
        sheet.text((734, top + 12), "there it sees", ha="left", color=MUTED)
        sheet.text((734, top + 34), f"{edges[0, 2]:.0f} among the edges", ha="left", color=ACCENT)
        sheet.text((734, top + 56), f"{pooled[0, 1]:.0f} behind the pooling", ha="left", color=ACCENT)
    return sheet.figure


def _pooled(title: str, name: str, example: str, pool: Pool) -> Figure:
    """Numbers on the left at strides 1, pixels on the right at strides 2."""
    x, boot = np.arange(9.0).reshape(1, 3, 3), BOOT[np.newaxis]
    sheet = Sheet(760, 272)
    sheet.title(title, "Windows of 2x2: on the left at strides 1, on the right side by side (strides 2).")
    sheet.grid((40, 116), x[0], colours=paint(block(0, 0, 2, 2), SOFT), label="input")
    sheet.arrow((162, 167), (206, 167))
    sheet.grid((236, 133), pool(x, (2, 2), strides=(1, 1))[0], colours={(0, 0): SOFT}, label=name)
    sheet.text((270, 222), example, color=ACCENT, size=10)
    sheet.picture((390, 97), boot[0], 140, (0, 1), label="28x28")
    sheet.arrow((546, 167), (582, 167))
    sheet.picture((598, 97), pool(boot, (2, 2))[0], 140, (0, 1), label=f"{name} 14x14")
    return sheet.figure


def _marked(values: scratch.Array, colour: str) -> dict[tuple[int, int], str]:
    """`colour` for the cells that are not 0."""
    return paint([(int(i), int(j)) for i, j in np.argwhere(values)], colour)
