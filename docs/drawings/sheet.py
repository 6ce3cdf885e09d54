"""What the drawings share: a sheet measured in px from the top left, grids of numbers, pictures, arrows, charts.

Colours are those of the reports' light page, on white, so that a picture can be read on a dark page too. One colour means
one thing: the accent is what the picture is about, grey is the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from pipelines.reports.figures import LIGHT, SCALE

Place = tuple[float, float]
"""px from the left, px from the top."""
Cells = Collection[tuple[int, int]]
"""(row, column) of each."""

INK, MUTED, LINE, FILL, ACCENT, PAPER = LIGHT.ink, LIGHT.muted, LIGHT.line, LIGHT.fill, LIGHT.accent, LIGHT.card
SOFT = "#f4d6cf"  # the accent, as a background
CELL = 34.0


class Sheet:
    """A figure of `width` x `height` px, on which things are put by their place."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72 * SCALE)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def text(self, at: Place, text: str, **style: Any) -> None:
        """A line of text (or several), centred at `at` unless ha and va say otherwise."""
        self.axes.text(*at, text, **{"ha": "center", "va": "center", **style})

    def title(self, text: str, note: str = "") -> None:
        """What the picture says, at its top left, and a line on how to read it."""
        self.text((24, 26), text, ha="left", size=14, weight="bold")
        self.text((24, 48), note, ha="left", color=MUTED)

    def box(self, at: Place, size: Place, colour: str = "none", edge: str = "none", **style: Any) -> None:
        """A rectangle; `at` is its top left corner."""
        self.axes.add_patch(Rectangle(at, *size, facecolor=colour, edgecolor=edge, **style))

    def arrow(self, start: Place, end: Place, colour: str = MUTED, **style: Any) -> None:
        """From `start` to `end`."""
        shape = {"arrowstyle": "-|>", "mutation_scale": 11, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        self.axes.add_patch(FancyArrowPatch(start, end, color=colour, **{**shape, **style}))

    def grid(
        self,
        at: Place,
        values: npt.NDArray[Any],
        *,
        colours: Mapping[tuple[int, int], str] | None = None,
        label: str = "",
        cell: float = CELL,
        size: float = 12,
    ) -> Place:
        """A table of numbers (rows, columns), with `label` above it; returns its width and height.

        colours: of cells that are not white.
        """
        rows, columns = values.shape
        for i, j in np.ndindex(rows, columns):
            corner = (at[0] + j * cell, at[1] + i * cell)
            self.box(corner, (cell, cell), (colours or {}).get((i, j), PAPER), MUTED, lw=0.8)
            self.text((corner[0] + cell / 2, corner[1] + cell / 2 + 0.5), _number(values[i, j]), size=size)
        self.text((at[0] + columns * cell / 2, at[1] - 13), label, color=MUTED)
        return columns * cell, rows * cell

    def picture(self, at: Place, values: npt.NDArray[Any], side: float, limits: Place, *, label: str = "") -> None:
        """Grey pixels (rows, columns), the first of `limits` white, the second black; `label` above. side: its width."""
        axes = self.chart(at, (side, side * values.shape[0] / values.shape[1]))
        axes.imshow(values, cmap="gray_r", vmin=limits[0], vmax=limits[1], interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=LINE)
        self.text((at[0] + side / 2, at[1] - 12), label, color=MUTED)

    def signed(self, at: Place, values: npt.NDArray[Any], side: float, limit: float, *, label: str = "") -> None:
        """As `picture`, for values of both signs: above 0 in the accent colour, below in grey."""
        axes = self.chart(at, (side, side * values.shape[0] / values.shape[1]))
        axes.imshow(signed_colours(values / limit), interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=LINE)
        self.text((at[0] + side / 2, at[1] - 12), label, color=MUTED)

    def chart(self, at: Place, size: Place) -> Axes:
        """Axes for a diagram, without a frame; `at` is their top left corner."""
        bottom = self.height - at[1] - size[1]
        box = (at[0] / self.width, bottom / self.height, size[0] / self.width, size[1] / self.height)
        axes = self.figure.add_axes(box)
        axes.tick_params(length=0, pad=6, labelcolor=MUTED)
        return axes

    def lines(self, at: Place, size: Place, *, across: str) -> Axes:
        """A chart for curves: no frame, faint lines at the values; `across` is what the horizontal axis tells."""
        axes = self.chart(at, size)
        axes.set_frame_on(False)
        axes.grid(axis="y", color=LINE, lw=1)
        axes.set_xlabel(across, labelpad=6, color=MUTED)
        return axes


def losses(axes: Axes, curve: Mapping[str, Any], colour: str) -> None:
    """A training's losses over its steps; curve: a training.Curve as a dictionary."""
    steps = [(number + 0.5) * curve["every"] for number in range(len(curve["losses"]))]
    axes.plot(steps, curve["losses"], color=colour, lw=2)


def end_label(axes: Axes, y: float, text: str, colour: str, x: float = 1.02) -> None:
    """Names a curve at the chart's right edge, at the height of value `y`."""
    axes.text(x, y, text, color=colour, va="center", transform=axes.get_yaxis_transform())


def paint(cells: Cells, colour: str) -> dict[tuple[int, int], str]:
    """The same colour for all `cells`, for Sheet.grid."""
    return dict.fromkeys(cells, colour)


def block(top: int, left: int, height: int, width: int) -> list[tuple[int, int]]:
    """The cells of a rectangle in a grid."""
    return [(i, j) for i in range(top, top + height) for j in range(left, left + width)]


def bars(sheet: Sheet, at: Place, rows: Sequence[tuple[str, float, str, str]], width: float, left: float = 200) -> None:
    """Horizontal bars, the largest `width` px long; rows: (name, value, what stands behind the bar, colour).

    left: px for the names.
    """
    largest = max(value for _, value, _, _ in rows)
    for number, (name, value, text, colour) in enumerate(rows):
        top = at[1] + 36 * number
        length = max(width * value / largest, 1.5)
        sheet.text((at[0] + left - 12, top + 11), name, ha="right")
        sheet.box((at[0] + left, top), (length, 22), colour)
        sheet.text((at[0] + left + length + 10, top + 11), text, ha="left", color=MUTED)


def signed_colours(share: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Colours (..., 3) of shares (...) in -1..1: from dark grey over white to the accent colour."""
    from matplotlib.colors import to_rgb

    ends = np.where((share > 0)[..., np.newaxis], to_rgb(ACCENT), to_rgb("#3d434c"))
    return np.asarray(1 + (ends - 1) * np.minimum(np.abs(share), 1)[..., np.newaxis])


def _number(value: Any) -> str:
    """Whole numbers without a point; nothing for NaN."""
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"
