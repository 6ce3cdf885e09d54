"""What diagrams are drawn with: texts, lines and rectangles, placed in px from the top left."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

Point = tuple[float, float]

FONTS = ["Arial", "Liberation Sans", "DejaVu Sans"]  # the installed ones; the last comes with matplotlib
SCALE = 2  # dots a px


class Canvas:
    """Where to draw. Later things cover earlier ones."""

    def __init__(self, width: float, height: float) -> None:
        # 72 px an inch, so that the points of matplotlib are px too.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72 * SCALE, facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, size: float = 9, **style: Any) -> None:
        """Around (x, y) unless the style says otherwise."""
        self.axes.text(x, y, text, size=size, **{"ha": "center", "va": "center_baseline", **style})

    def rectangle(
        self, left: float, top: float, width: float, height: float, *, radius: float = 0, **style: Any
    ) -> None:
        """With round corners."""
        form = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
        self._add(FancyBboxPatch((left, top), width, height, boxstyle=form, **{"lw": 1, "edgecolor": "none", **style}))

    def circle(self, x: float, y: float, radius: float, **style: Any) -> None:
        """Around (x, y)."""
        self._add(Circle((x, y), radius, **{"lw": 1, **style}))

    def line(self, *points: Point, color: str, arrow: bool = False) -> None:
        """Through the points with rounded corners; an arrow points at the last."""
        codes, path = [Curve.MOVETO], [points[0]]
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            path += [_towards(corner, before, 5), corner, _towards(corner, after, 5)]
            codes += [Curve.LINETO, Curve.CURVE3, Curve.CURVE3]
        path.append(_towards(points[-1], points[-2], 4) if arrow else points[-1])
        self._curve(path, [*codes, Curve.LINETO], color)
        if arrow:
            along = np.subtract(points[-1], points[-2]) / math.dist(points[-1], points[-2])
            base, across = points[-1] - 6 * along, np.array((-3 * along[1], 3 * along[0]))
            self._add(Polygon([points[-1], base + across, base - across], facecolor=color, lw=0))

    def arc(self, start: Point, end: Point, rise: float, *, color: str) -> None:
        """From start to end, `rise` px above them in the middle."""
        top = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 2 * rise)
        self._curve([start, top, end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3], color)

    def _curve(self, points: list[Point], codes: list[Any], color: str) -> None:
        self._add(PathPatch(Curve(points, codes), fill=False, edgecolor=color, lw=1.1, capstyle="butt"))

    def _add(self, patch: Any) -> None:
        self.axes.add_patch(patch)


def text_width(text: str, size: float = 9, weight: str = "normal") -> float:
    """In px."""
    properties = font_manager.FontProperties(weight=weight)
    # With a dot more, since matplotlib fails on a text without ink.
    return float(np.asarray(TextPath((0, 0), f"{text}.", size=size, prop=properties).vertices)[:, 0].max())


def save(draw: Callable[[], Canvas], file: Path, ink: str) -> None:
    """Writes what `draw` draws as .svg or .png, the same bytes each time. Raises OSError."""
    form = file.suffix.lower().lstrip(".")
    style: dict[Any, Any] = {
        "font.family": "sans-serif",  # what readers of an .svg see who have none of these
        "font.sans-serif": [font for font in FONTS if font in font_manager.get_font_names()],
        "text.parse_math": False,
        "text.color": ink,
        "svg.fonttype": "none",  # text stays text, to be searched and edited
        "svg.hashsalt": "cnn-tf",
    }
    picture = io.BytesIO()
    with matplotlib.rc_context(style):
        draw().figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    file.write_bytes(picture.getvalue())


def _towards(start: Point, end: Point, length: float) -> Point:
    share = min(0.5, length / max(math.dist(start, end), 1e-9))
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
