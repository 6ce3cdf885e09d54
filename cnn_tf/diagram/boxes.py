"""Boxes that diagrams are put together from: layers, paths one below the other or side by side, shortcuts, frames.

A box is laid out around a line along which the data flow downwards. Sizes follow the texts, so whatever `outline` understands
finds its room. Lengths are px.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnn_tf.diagram.canvas import Canvas, text_width
from cnn_tf.diagram.outline import Branches, Layer, Path, Run

INK, MUTED, LINE, EDGE, ACCENT = "#1a1c20", "#656a73", "#9aa1ab", "#d3d6db", "#c2402a"
FILLS = {
    "convolution": "#dde6f0",
    "pooling": "#f2e8d5",
    "dense": "#dcebdb",
    "local response normalisation": "#ebe3f0",
    "squeeze and excitation": "#ebe3f0",
}
MERGES = {"Add": "+", "Multiply": "×", "Concatenate": "concat"}

STEP, LANE, PADDING = 8.0, 13.0, 7.0  # between layers; from a path to its shortcut; inside a frame
SQUARES = 6  # at most, of a run of densely connected blocks


class Box(NamedTuple):
    """Something that wants room: `left` and `right` of the line of flow, and a height."""

    left: float
    right: float
    height: float
    draw: Callable[[Canvas, float, float], None]
    """(canvas, x of the line of flow, y of the top)"""


def framed_run(run: Run, width: float, largest: Box) -> Box:
    """Blocks in a frame, all of a stage as wide as the largest needs; layers that stand in no block without one."""
    body = run_body(run, width)
    if run.blocks == ("",):
        return body
    times = f"× {len(run.blocks)}" if len(run.blocks) > 1 else ""
    return _framed(body._replace(left=largest.left, right=largest.right), _span(run.blocks), times)


def run_body(run: Run, width: float) -> Box:
    """What is in the frame; width: of layers."""
    path, last = _path(run.path, width), run.path[-1]
    is_dense = isinstance(last, Branches) and last.merge == "Concatenate" and _is_skip(last)
    if is_dense and len(run.blocks) > 1:
        return stacked([path, _dense_strip(len(run.blocks))], connected=False)
    return path


def _span(names: Sequence[str]) -> str:
    """("block2", "block3", "block4") -> "block2–4"; ("a", "b") -> "a–b"."""
    return names[0] if len(names) == 1 else f"{names[0]}–{re.sub('^[a-z]+(?=[0-9])', '', names[-1])}"


def _framed(body: Box, name: str, times: str) -> Box:
    needed = text_width(name, 8.5) + text_width(times, 10, "bold") + (14 if times else 0)
    spare = max(0.0, needed - body.left - body.right) / 2 + PADDING
    left, right, height = body.left + spare, body.right + spare, body.height + 22 + PADDING

    def draw_frame(drawing: Canvas, x: float, y: float) -> None:
        drawing.rectangle(x - left, y, left + right, height, radius=6, facecolor="white", edgecolor=EDGE)
        drawing.text(x - left + PADDING, y + 11, name, 8.5, ha="left", color=MUTED)
        drawing.text(x + right - PADDING, y + 11, times, 10, ha="right", weight="bold")
        body.draw(drawing, x, y + 22)

    return Box(left, right, height, draw_frame)


def stacked(boxes: Sequence[Box], *, connected: bool = True) -> Box:
    """One below the other on the same line of flow."""

    def draw_boxes(drawing: Canvas, x: float, y: float) -> None:
        for number, box in enumerate(boxes):
            if number and connected:
                drawing.line((x, y - STEP), (x, y), color=LINE)
            box.draw(drawing, x, y)
            y += box.height + STEP

    left = max((box.left for box in boxes), default=0.0)
    right = max((box.right for box in boxes), default=0.0)
    return Box(left, right, sum(box.height + STEP for box in boxes) - STEP, draw_boxes)


def _path(path: Path, width: float | None) -> Box:
    """width: of layers; None: narrow ones, as wide as their texts."""
    steps = (_branches(step, width) if isinstance(step, Branches) else _layer(step, width) for step in path)
    return stacked(list(steps))


def natural_width(layer: Layer) -> float:
    """That its texts need side by side."""
    return max(text_width(layer.text + channels_text(layer)) + 24, 76.0)


def channels_text(layer: Layer) -> str:
    """Such as "256", or "64–128" of blocks that differ."""
    least, most = layer.channels
    return str(most) if least == most else f"{least}–{most}"


def _layer(layer: Layer, width: float | None) -> Box:
    """What it is and the channels that it gives, side by side or, if narrow, one below the other."""
    text, channels = layer.text, channels_text(layer)
    half = (max(text_width(text), text_width(channels)) + 8 if width is None else width) / 2
    height = 30.0 if width is None else 20.0

    def draw_layer(drawing: Canvas, x: float, y: float) -> None:
        drawing.rectangle(x - half, y, 2 * half, height, radius=4, facecolor=FILLS[layer.kind])
        if width is None:
            drawing.text(x, y + 9.5, text)
            drawing.text(x, y + 21, channels, color=MUTED)
        else:
            drawing.text(x - half + 7, y + 10.5, text, ha="left")
            drawing.text(x + half - 7, y + 10.5, channels, ha="right", color=MUTED)

    return Box(half, half, height, draw_layer)


def _is_skip(branches: Branches) -> bool:
    """Whether a path goes round the others: two, of which one is empty or only makes shapes equal."""
    return len(branches.paths) == 2 and (branches.merge != "Concatenate" or () in branches.paths)


def _branches(branches: Branches, width: float | None) -> Box:
    if _is_skip(branches):
        short_way, long_way = sorted(branches.paths, key=len)
        label = " ".join(step.text for step in short_way if isinstance(step, Layer))
        return _skip(_path(long_way, width), label, branches.merge)
    if len(branches.paths) > 4:  # no room; they are alike
        first = _framed(_path(branches.paths[0], width), "branches", f"× {len(branches.paths)}")
        return stacked([first, _merge(branches.merge)])
    return _parallel([_path(path, None) for path in branches.paths], _merge(branches.merge))


def _skip(body: Box, label: str, merge: str) -> Box:
    """A path, and in the accent colour the way round it."""
    node = _merge(merge)
    height = STEP + body.height + STEP + node.height

    def draw_skip(drawing: Canvas, x: float, y: float) -> None:
        lane, end = x - body.left - LANE + 4, y + height - node.height / 2
        drawing.line((x, y), (x, end), color=LINE)
        body.draw(drawing, x, y + STEP)
        drawing.line((x, y), (lane, y), (lane, end), (x - node.left, end), color=ACCENT, arrow=True)
        if label:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            drawing.text(lane, (y + end) / 2, label, 8, rotation=90, va="center", color=ACCENT, bbox=box)
        node.draw(drawing, x, end - node.height / 2)

    return Box(body.left + LANE, body.right, height, draw_skip)


def _merge(merge: str) -> Box:
    """The place where paths meet."""
    sign = MERGES[merge]
    is_word = len(sign) > 1
    half = text_width(sign, 8) / 2 + 6 if is_word else 7.0

    def draw_merge(drawing: Canvas, x: float, y: float) -> None:
        if is_word:
            drawing.rectangle(x - half, y, 2 * half, 14, radius=6, facecolor="white", edgecolor=ACCENT)
        else:
            drawing.circle(x, y + 7, 7, facecolor="white", edgecolor=ACCENT)
        drawing.text(x, y + 7, sign, 8 if is_word else 11, color=ACCENT)

    return Box(half, half, 14, draw_merge)


def _parallel(boxes: Sequence[Box], node: Box) -> Box:
    """Paths side by side, which meet below."""
    half = (sum(box.left + box.right for box in boxes) + 5 * (len(boxes) - 1)) / 2
    tallest = max(box.height for box in boxes)

    def draw_parallel(drawing: Canvas, x: float, y: float) -> None:
        left, bottom = x - half, y + tallest + 2 * STEP
        for box in boxes:
            middle = left + box.left
            drawing.line((x, y), (middle, y), (middle, bottom), (x, bottom), color=ACCENT)
            box.draw(drawing, middle, y + STEP)
            left += box.left + box.right + 5
        drawing.line((x, bottom), (x, bottom + STEP), color=ACCENT)
        node.draw(drawing, x, bottom + STEP)

    return Box(half, half, tallest + 3 * STEP + node.height, draw_parallel)


def _dense_strip(count: int) -> Box:
    """Squares for blocks, and arcs from each to all that come after."""
    shown = min(count, SQUARES)
    text = "each sees all before it"
    half = max(9.0 * shown + (9 if count > shown else 0), text_width(text, 8) / 2)

    def draw_strip(drawing: Canvas, x: float, y: float) -> None:
        first = x - 9.0 * (shown - 1) - (9 if count > shown else 0)
        places = [first + 18 * number for number in range(shown)]
        for start, end in itertools.combinations(places, 2):
            drawing.arc((start, y + 34), (end, y + 34), (end - start) / 4, color=ACCENT)
        for place in places:
            drawing.rectangle(place - 5, y + 33, 10, 10, radius=2, facecolor=FILLS["convolution"], edgecolor=LINE)
        if count > shown:
            drawing.text(places[-1] + 18, y + 38, "…", 10, color=MUTED)
        drawing.text(x, y + 54, text, 8, color=MUTED)

    return Box(half, half, 60, draw_strip)
