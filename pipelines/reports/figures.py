"""The pictures of reports: learning curves, confusion matrix, worst mistakes; sizes of pictures.

They share a palette with the page: greys for what is as it should be, the accent for what deserves a look. Lengths are CSS
px; pictures have `SCALE` dots a px, so that they are sharp on dense screens.
"""

import dataclasses
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Affine2D
from PIL import Image

SCALE = 2
MAX_SIDE = 920  # of the confusion matrix, however many classes it has
TILE = 112  # 224 dots, a multiple of 28, 32 and 56: their pixels stay whole

# The installed ones of these are tried in turn for each glyph; DejaVu Sans comes with matplotlib.
FONTS = ["Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "Arial Unicode MS"]

LOG_RANGE = 8  # from this ratio of the largest to the smallest, sizes are drawn on logarithmic axes

# key of the history, heading of its panel, factor, format of a value, what finds the best value
CURVES = (("loss", "Loss", 1, "{:.3f}", np.argmin), ("accuracy", "Accuracy in %", 100, "{:.1f} %", np.argmax))


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrongly classified example."""

    image: npt.NDArray[Any]  # uint8 (H, W, C), C is 1 or 3
    index: int  # position in the evaluated split
    label: int  # true class
    predicted: int  # predicted class
    probability: float  # 0..1, of the predicted class


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colours of the page and of its figures, "#rrggbb"."""

    page: str
    card: str
    ink: str
    muted: str
    line: str
    fill: str
    accent: str


LIGHT = Palette("#f6f6f4", "#ffffff", "#1a1c20", "#656a73", "#e4e5e8", "#d3d6db", "#c2402a")
DARK = Palette("#111316", "#191c20", "#e9ebee", "#9aa1ab", "#2d3138", "#474d57", "#ff8566")


def draw_curves(palette: Palette, history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy of each epoch side by side: training in grey, validation in the accent colour."""
    if not history:
        return _draw_note(palette, "No history was recorded.")
    figure = _figure(1000, 312)
    for left, (key, heading, factor, form, best) in zip((40, 540), CURVES, strict=True):
        training = ("training", palette.muted, *_series(history, key, factor))
        validation = ("validation", palette.accent, *_series(history, f"validation_{key}", factor))
        axes = _axes(figure, left, 50, 336, 216)
        _draw_lines(palette, axes, [line for line in (training, validation) if len(line[3])], form)
        _text(figure, left, 22, heading, weight="bold", size=13)
        epochs, values = validation[2:]
        if len(values):
            at = int(best(values))
            axes.plot(epochs[at], values[at], "o", color=palette.accent, ms=6, clip_on=False)
            text = f"● best {form.format(values[at])}, epoch {epochs[at]:.0f}"
            _text(figure, left + 336, 22, text, color=palette.accent, ha="right")
    return figure


def _series(
    history: Sequence[Mapping[str, float]], key: str, factor: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Epochs and values of the rows in which `key` is there and finite."""
    rows = [(row["epoch"], factor * row[key]) for row in history if finite(row.get(key)) is not None]
    epochs, values = np.array(rows, np.float64).reshape(-1, 2).T
    return epochs, values


def _draw_lines(palette: Palette, axes: Axes, lines: Sequence[Any], form: str) -> None:
    """Draws (label, colour, epochs, values), each labelled at the right edge with its last value."""
    for _, colour, epochs, values in lines:
        axes.plot(epochs, values, color=colour, lw=1.8, marker="o", ms=5 if len(epochs) == 1 else 0, clip_on=False)
    axes.grid(axis="y", color=palette.line, lw=1)
    axes.set_frame_on(False)
    axes.tick_params(length=0, pad=8, labelcolor=palette.muted)
    axes.locator_params(axis="x", nbins=8, integer=True, min_n_ticks=1)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlabel("Epoch", labelpad=6, color=palette.muted)
    if lines:
        axes.set_xlim(axes.dataLim.x0 - 0.5, axes.dataLim.x1 + 0.5)
    low, high = axes.get_ylim()
    heights = [(line[3][-1] - low) / (high - low) for line in lines]
    for height, (label, colour, _, values) in zip(_apart(heights, 0.08), lines, strict=True):
        text = f"{label} {form.format(values[-1])}"
        axes.text(1.02, height, text, color=colour, va="center", transform=axes.transAxes)


def _apart(heights: Sequence[float], gap: float) -> Sequence[float]:
    """Moves two heights `gap` from each other if they are nearer, so that their labels do not overlap."""
    if len(heights) < 2 or abs(heights[0] - heights[1]) >= gap:
        return heights
    middle, sign = sum(heights) / 2, 1 if heights[0] > heights[1] else -1
    return middle + sign * gap / 2, middle - sign * gap / 2


def draw_matrix(palette: Palette, matrix: npt.NDArray[Any], names: Sequence[str]) -> Figure:
    """Confusion matrix: errors in the accent colour, the diagonal in grey, each by its share of the true class."""
    side = min(max(56.0 * len(names), 240.0), MAX_SIDE)
    cell = side / len(names)
    size = min(11.0, max(7.5, 0.8 * cell))
    every = math.ceil(size / cell)  # where rows are thinner than text, only each n-th class is named
    labels = [_clip(name, 140, size) for name in names[::every]]
    widest = max(_text_width(label, size) for label in labels)
    angle = 0 if widest < cell - 6 else 45 if cell > 24 else 90
    room = {0: 20.0, 45: 0.75 * widest + 14, 90: widest + 8}[angle]  # of the names above the columns
    left, top = max(widest, 64) + 28, 40 + room
    figure = _figure(left + max(side + (room if angle == 45 else 20), 420), top + side + 56)
    across = {"ha": "left", "va": "center", "rotation_mode": "anchor"} if angle else {"ha": "center"}
    for label, middle in zip(labels, np.arange(0.5, len(names), every) * cell, strict=True):
        _text(figure, left - 10, top + middle, label, size=size, ha="right", va="center_baseline")
        _text(figure, left + middle, top - 10, label, size=size, rotation=angle, **across)
    _text(figure, left - 10, top - 10, "True class ↓", color=palette.muted, ha="right")
    _text(figure, left, 22, "Predicted class →", color=palette.muted)
    worst = _draw_cells(palette, _axes(figure, left, top, side, side), matrix, cell)
    _draw_key(palette, figure, left, top + side + 22, worst)
    return figure


def _draw_cells(palette: Palette, axes: Axes, matrix: npt.NDArray[Any], cell: float) -> float:
    """Colours the cells; writes the counts if they fit. Returns the share that has the full accent colour."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    errors = share * (1 - np.eye(len(matrix)))
    worst = max(float(errors.max()), 0.02)  # a single mistake of a good model is no alarm
    diagonal = np.eye(len(matrix), dtype=bool)[..., None]
    colours = np.where(diagonal, _blend(palette.page, palette.fill, share), _error_colours(palette, errors, worst))
    axes.imshow(colours, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for edge in np.arange(0.5, len(matrix) - 1).tolist() if cell >= 16 else ():
        axes.axhline(edge, color=palette.card, lw=2)
        axes.axvline(edge, color=palette.card, lw=2)
    size = min(12.0, (cell - 6) / (0.62 * len(str(matrix.max()))))
    for i, j in np.argwhere(matrix) if size >= 6.5 else ():
        colour = palette.card if errors[i, j] > 0.5 * worst else palette.ink
        axes.text(j, i, str(matrix[i, j]), size=size, color=colour, ha="center", va="center_baseline")
    return worst


def _error_colours(palette: Palette, share: npt.NDArray[Any], worst: float) -> npt.NDArray[Any]:
    """Colours (..., 3) of shares (...). The power keeps rare errors visible beside the worst."""
    return _blend(palette.page, palette.accent, (share / worst) ** 0.6)


def _blend(start: str, end: str, amount: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Colours (..., 3) between two, by an amount (...) of 0..1."""
    first, last = np.array(to_rgb(start)), np.array(to_rgb(end))
    return np.asarray(first + (last - first) * amount[..., None])


def _draw_key(palette: Palette, figure: Figure, left: float, top: float, worst: float) -> None:
    """What the colours mean, in one line."""
    ramp = _error_colours(palette, np.linspace(0, worst, 128)[None], worst)
    for x, width, colours in ((0, 12, _blend(palette.fill, palette.fill, np.ones((1, 1)))), (84, 120, ramp)):
        axes = _axes(figure, left + x, top, width, 12)
        axes.imshow(colours, aspect="auto")
        axes.set_axis_off()
    for x, text in ((20, "correct"), (214, f"mistaken, 0 to {percent(worst, 0)} of the true class")):
        _text(figure, left + x, top + 6, text, color=palette.muted, va="center_baseline")


def draw_mistakes(palette: Palette, mistakes: Sequence[Mistake], names: Sequence[str]) -> Figure:
    """Contact sheet: each picture with its true class and index, the predicted class and its probability."""
    if not mistakes:
        return _draw_note(palette, "No mistakes to show.")
    columns = min(8, max(4, len(mistakes)))
    figure = _figure(columns * (TILE + 24) + 40, math.ceil(len(mistakes) / columns) * (TILE + 52) + 72)
    _text(figure, 32, 30, "Worst mistakes", weight="bold", size=13)
    _text(figure, 32, 49, "true class, index → predicted class, its probability", color=palette.muted)
    for i, mistake in enumerate(mistakes):
        row, column = divmod(i, columns)
        _draw_mistake(palette, figure, 32 + column * (TILE + 24), 72 + row * (TILE + 52), mistake, names)
    return figure


def _draw_mistake(palette: Palette, figure: Figure, left: int, top: int, mistake: Mistake, names: Any) -> None:
    bottom = top + TILE
    pixels = np.asarray(tile(mistake.image).convert("RGB"))
    figure.figimage(pixels, SCALE * left, round(figure.bbox.height) - SCALE * bottom, origin="upper")
    index, end = f"#{mistake.index}", f", {percent(mistake.probability, 0)}"
    label = _clip(names[mistake.label], TILE - 6 - _text_width(index, 9), 10)
    predicted = _clip(f"→ {names[mistake.predicted]}", TILE + 14 - _text_width(end, 10), 10)
    _text(figure, left, bottom + 15, label, size=10)
    _text(figure, left + TILE, bottom + 15, index, size=9, color=palette.muted, ha="right")
    _text(figure, left, bottom + 29, predicted + end, size=10, color=palette.accent)


def draw_sizes(palette: Palette, sizes: npt.NDArray[np.int32]) -> Figure:
    """Pictures by their sizes (N, 2), width and height in pixels: a dot a size, its area by how many there are."""
    places, counts = np.unique(sizes, axis=0, return_counts=True)
    figure = _figure(480, 462)
    axes = _axes(figure, 64, 28, 388, 376)
    low, high = 0.8 * places.min(), 1.2 * places.max()
    if high > LOG_RANGE * low:
        axes.set_xscale("log")
        axes.set_yscale("log")
        steps = [step * 10**power for power in range(6) for step in (1, 2, 5)]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
            axis.set_minor_locator(NullLocator())
    else:
        low = 0
    axes.set(xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.plot([low, high], [low, high], color=palette.line, lw=1)
    axes.scatter(places[:, 0], places[:, 1], s=10 + 240 * counts / len(sizes), color=palette.ink, alpha=0.4, lw=0)
    axes.grid(color=palette.line, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_frame_on(False)
    axes.tick_params(length=0, pad=8, labelcolor=palette.muted)
    axes.set_xlabel("Width in pixels", labelpad=6, color=palette.muted)
    _text(figure, 12, 16, "Height in pixels", color=palette.muted)
    _text(figure, 452, 16, "On the line: square", color=palette.muted, ha="right")
    return figure


def tile(image: npt.NDArray[Any]) -> Image.Image:
    """The picture as large as `TILE` allows: small ones with crisp pixels, large ones averaged."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    scale = SCALE * TILE / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)  # upwards, a box is the nearest pixel


def percent(share: float | None, digits: int = 1) -> str:
    """0.912 -> "91.2 %". A share below one is never rounded up to 100 %; an unknown one is a dash."""
    value = finite(share)
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}"
    if value < 1 and float(text) >= 100:
        text = f">{100 - 10**-digits:.{digits}f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def finite(value: float | None) -> float | None:
    """None for what is missing, NaN or infinite: a class that was never predicted, a loss that diverged."""
    return float(value) if value is not None and math.isfinite(value) else None


def _figure(width: float, height: float) -> Figure:
    """72 px an inch, so that the points of matplotlib are px too."""
    return Figure(figsize=(width / 72, height / 72), dpi=72 * SCALE)


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in px from the top left."""
    across, down = SCALE / figure.bbox.width, SCALE / figure.bbox.height
    return figure.add_axes((left * across, 1 - (top + height) * down, width * across, height * down))


def _text(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Text at a place given in px from the top left."""
    pixels = Affine2D().scale(SCALE, -SCALE).translate(0, figure.bbox.height)
    figure.text(left, top, text, transform=pixels, **style)


def _text_width(text: str, size: float) -> float:
    """px, with a dot more, since matplotlib fails on a text without ink."""
    return float(np.asarray(TextPath((0, 0), f"{text}.", size=size).vertices)[:, 0].max())


def _clip(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than `width` px."""
    whole = _text_width(text, size)
    return text if whole <= width else text[: max(1, int(len(text) * width / whole) - 1)].rstrip() + "…"


def _draw_note(palette: Palette, text: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = _figure(1000, 120)
    _text(figure, 500, 60, text, color=palette.muted, size=13, ha="center", va="center")
    return figure


def png(palette: Palette, draw: Callable[..., Figure], *arguments: Any) -> bytes:
    """What `draw` draws, as a PNG file."""
    style: dict[Any, Any] = {
        "font.family": sorted({*FONTS} & {*font_manager.get_font_names()}, key=FONTS.index),
        "font.size": 11,
        "text.parse_math": False,  # a class may be called "$5 or $10"
        "text.color": palette.ink,
        "figure.facecolor": palette.card,
    }
    file = io.BytesIO()
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page writes the name in the browser's fonts
        draw(palette, *arguments).savefig(file, format="png")
    return file.getvalue()


def width(png: bytes) -> int:
    """Of a PNG file's picture, CSS px."""
    return Image.open(io.BytesIO(png)).width // SCALE


def encode(picture: Image.Image) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
