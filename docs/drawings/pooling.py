"""池化: maximum against average, and what a shift by one pixel does with and without pooling."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from cnn_tf import scratch
from docs.drawings.padding import BOOT
from docs.drawings.sheet import ACCENT, FILL, MUTED, SOFT, Sheet, block, paint


def draw_pooling() -> Figure:
    """The note's numbers above, a boot below."""
    x = np.arange(9.0).reshape(1, 3, 3)
    sheet, first = Sheet(660, 420), {(0, 0): SOFT}
    sheet.title(
        "Maximum keeps the strongest, average the mean",
        "Windows of 2x2: above at strides 1, below side by side (strides 2).",
    )
    sheet.grid((79, 104), x[0], colours=paint(block(0, 0, 2, 2), SOFT), label="input")
    sheet.grid((296, 121), scratch.max_pool2d(x, (2, 2), strides=(1, 1))[0], colours=first, label="maximum")
    sheet.text((330, 212), "max(0, 1, 3, 4) = 4", color=ACCENT, size=10)
    sheet.grid((496, 121), scratch.average_pool2d(x, (2, 2), strides=(1, 1))[0], colours=first, label="average")
    sheet.text((530, 212), "(0 + 1 + 3 + 4) / 4 = 2", color=ACCENT, size=10)
    boot = BOOT[np.newaxis]
    sheet.picture((60, 256), boot[0], 140, (0, 1), label="28x28")
    sheet.picture((260, 256), scratch.max_pool2d(boot, (2, 2))[0], 140, (0, 1), label="maximum 14x14")
    sheet.picture((460, 256), scratch.average_pool2d(boot, (2, 2))[0], 140, (0, 1), label="average 14x14")
    return sheet.figure


def draw_shift() -> Figure:
    """An edge, and the same edge one pixel further: the detector's output moves, the pooled one stays."""
    sheet, cell = Sheet(840, 372), 26.0
    sheet.title("The edge moves by one pixel, the pooled output does not", "Outlined: what a later layer looks at.")
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
        value = edges[0, 2]
        sheet.text((730, top + 32), f"edges: {value:.0f}", ha="left", color=MUTED)
        sheet.text((730, top + 56), f"pooled: {pooled[0, 1]:.0f}", ha="left", color=MUTED)
    return sheet.figure


def _marked(values: scratch.Array, colour: str) -> dict[tuple[int, int], str]:
    """`colour` for the cells that are not 0."""
    return paint([(int(i), int(j)) for i, j in np.argwhere(values)], colour)
