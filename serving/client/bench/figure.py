"""Latencies by percentile, as HDR histograms are drawn: each step to the right is a tenth of the answers before it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, StrMethodFormatter

from serving.client.bench.load import Measured
from serving.client.bench.report import Asked, ranks, rate

_INK, _MUTED, _LINE, _ACCENT = "#1a1c20", "#656a73", "#e4e5e8", "#c2402a"
# Above a hundred times the median's latency, a linear axis would show the slowest only.
_WIDE = 100
# From here on latencies are told in seconds.
_LONG_MS = 10_000


def save(path: Path, asked: Asked, measured: Measured) -> None:
    """Writes an SVG or PNG, by the file's name. Raises OSError."""
    figure = Figure(figsize=(9, 5), dpi=150)
    axes = figure.add_axes((0.085, 0.13, 0.85, 0.68))
    _draw(axes, measured)
    figure.text(0.085, 0.93, f"Latency of {asked.model} by percentile", size=14, weight="bold", color=_INK)
    failed = measured.failures.total()
    told = f"{rate(measured):,.0f} answers/s, {failed:,} failed"
    figure.text(0.085, 0.875, f"{str(asked).partition(': ')[2]} · {told}", size=9.5, color=_MUTED)
    figure.savefig(path)


def _draw(axes: Axes, measured: Measured) -> None:
    unit, per_second = ("s", 1) if max(measured.latencies) * 1000 >= _LONG_MS else ("ms", 1000)
    ordered = np.sort(measured.latencies) * per_second
    count = len(ordered)
    position = _position(np.arange(count), count)
    axes.plot(position, ordered, color=_ACCENT, lw=2, solid_capstyle="round", clip_on=False)
    decades = max(math.ceil(math.log10(2 * count)), 2)
    axes.set_xscale("log")
    axes.set_xlim(1, 10**decades)
    axes.xaxis.set_major_locator(FixedLocator([1, 2, *[10.0**n for n in range(1, decades + 1)]]))
    axes.xaxis.set_major_formatter(FixedFormatter(["0 %", "50 %", *[_percent(n) for n in range(1, decades + 1)]]))
    axes.xaxis.set_minor_locator(NullLocator())
    if ordered[-1] > _WIDE * np.median(ordered):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, ordered[-1] * 1.08)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xlabel("Share of the answers that came within the latency", color=_MUTED, labelpad=8)
    axes.set_ylabel(f"Latency, {unit}", color=_MUTED, labelpad=8)
    axes.grid(color=_LINE, lw=1)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)
    axes.tick_params(length=0, pad=6, labelcolor=_MUTED, which="both")
    _mark(axes, ordered, unit)


def _position(index: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """1 / (1 - share) of the answers up to each; the slowest is halfway to 100 %, which is infinitely far away."""
    return count / np.maximum(count - index - 1, 0.5)


def _mark(axes: Axes, ordered: npt.NDArray[np.float64], unit: str) -> None:
    """Dots with their values, but for the percentiles that too few answers are above."""
    count = len(ordered)
    for name, rank in ranks(count).items():
        if name != "max" and count - rank < 3:
            continue
        place = float(_position(np.array(rank), count)), ordered[rank]
        # Below and right of a curve that rises there is room; right of the last ones the figure ends.
        side, offset = ("left", (8, -14)) if name == "p50" else ("right", (-7, 8))
        axes.plot(*place, "o", color=_ACCENT, ms=6, clip_on=False)
        axes.annotate(
            f"{name} {_short(ordered[rank])} {unit}", place, offset, textcoords="offset points", ha=side, color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, zorder=1,
        )  # fmt: skip


def _short(value: float) -> str:
    """To three digits."""
    return f"{value:,.{max(2 - math.floor(math.log10(max(value, 0.01))), 0)}f}"


def _percent(nines: int) -> str:
    """90 %, 99 %, 99.9 %, ..."""
    return f"{100 - 100 / 10**nines:.{max(nines - 2, 0)}f} %"
