"""A drawing of a network for a slide: its stages from left to right, and under each what it is made of.

Above, a stack of sheets is what a stage gives: their side grows with the root of rows and columns, their number with the
logarithm of the channels. Below are the boxes of boxes.py. Lengths are px.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path as File
from typing import NamedTuple

from cnn_tf.description import LayerRow, Shape, Totals, totals
from cnn_tf.diagram import canvas
from cnn_tf.diagram.boxes import (
    FILLS,
    INK,
    LINE,
    MUTED,
    Box,
    channels_text,
    framed_run,
    natural_width,
    run_body,
    stacked,
)
from cnn_tf.diagram.canvas import Canvas, text_width
from cnn_tf.diagram.outline import Stage, layers, outline
from cnn_tf.naming import short

# What stands in texts -> what it means.
NOTES = {
    "/2": "/2: strides 2",
    "dw": "dw: each channel by itself (depthwise)",
    "–": "64–128: the least and the most channels of the blocks",
}

MARGIN = 36.0
LARGEST, BAND = 92.0, 132.0  # side of the picture's sheet; height of the band in which the stacks stand
SHEET = "#eef0f3"


def save(rows: Sequence[LayerRow], name: str, file: File) -> None:
    """Draws the network of these rows to an .svg or .png file. Raises OSError."""
    canvas.save(lambda: draw(rows, name), file, INK)


def draw(rows: Sequence[LayerRow], name: str) -> Canvas:
    """The drawing."""
    stages = outline(rows)
    columns = [_column(stage, stages[0].output_shape) for stage in stages]
    heading, legend = _heading(rows), _legend(stages)
    gaps, natural = len(columns) - 1, sum(column.left + column.right for column in columns)
    # As wide as a slide if the gaps allow it; wider if the columns ask for it.
    room = max(min(888.0, natural + 44 * gaps), natural + 26 * gaps, text_width(heading, 11), legend.right)
    top = MARGIN + 56
    height = top + max(column.height for column in columns) + 82
    drawing = Canvas(room + 2 * MARGIN, height)
    drawing.text(MARGIN, MARGIN + 4, name, 20, ha="left", weight="bold")
    drawing.text(MARGIN, MARGIN + 30, heading, 11, ha="left", color=MUTED)
    _draw_columns(drawing, stages, columns, top, (room - natural) / gaps)
    legend.draw(drawing, MARGIN, height - 54)
    return drawing


def _heading(rows: Sequence[LayerRow]) -> str:
    sums = totals(rows)
    seen = max(row.receptive_field or 0 for row in rows)
    return "   ·   ".join(
        (
            f"{_dimensions(rows[0].output_shape)} pictures → {rows[-1].output_shape[-1]} classes",
            f"{short(sums.parameters)} parameters",
            f"{short(sums.macs)} multiply-adds",
            f"receptive field {seen}×{seen}",
        )
    )


def _draw_columns(drawing: Canvas, stages: Sequence[Stage], columns: Sequence[Box], top: float, gap: float) -> None:
    """The columns, and arrows from stack to stack."""
    x, picture = MARGIN, stages[0].output_shape
    places = []
    for stage, column in zip(stages, columns, strict=True):
        x += column.left
        column.draw(drawing, x, top)
        half = _Stack.of(stage.output_shape, picture).width / 2 + 7
        places.append((x - half, x + half))
        x += column.right + gap
    for (_, start), (end, _) in itertools.pairwise(places):
        drawing.line((start, top + BAND / 2), (end, top + BAND / 2), color=LINE, arrow=True)


def _column(stage: Stage, picture: Shape) -> Box:
    """A stage: its stack, name, shape and totals, and what it is made of."""
    stack = _Stack.of(stage.output_shape, picture)
    texts = [(stage.name, 12.0, INK, "bold"), (_dimensions(stage.output_shape), 10.0, INK, "normal")]
    texts += [(text, 8.5, MUTED, "normal") for text in _small_print(stage.totals)]
    width = max((natural_width(layer) for run in stage.runs for layer in layers(run.path)), default=0)
    largest = stacked([run_body(run, width) for run in stage.runs])
    body = stacked([framed_run(run, width, largest) for run in stage.runs])
    half = max(stack.width / 2, *(text_width(text, size, weight) / 2 for text, size, _, weight in texts))

    def draw_column(drawing: Canvas, x: float, y: float) -> None:
        stack.draw(drawing, x, y + BAND / 2)
        for (text, size, color, weight), down in zip(texts, (12, 29, 45, 58), strict=False):
            drawing.text(x, y + BAND + down, text, size, color=color, weight=weight)
        body.draw(drawing, x + (body.left - body.right) / 2, y + BAND + 78)

    half = max(half, (body.left + body.right) / 2)
    return Box(half, half, BAND + 78 + body.height, draw_column)


def _small_print(sums: Totals) -> list[str]:
    if not sums.parameters:
        return []
    return [f"{short(sums.parameters)} parameters", f"{short(sums.macs)} MACs"]


class _Stack(NamedTuple):
    """Sheets behind each other; a vector is a thin bar."""

    width: float
    height: float
    sheets: int
    sheet_width: float
    sheet_height: float

    @classmethod
    def of(cls, shape: Shape, picture: Shape) -> _Stack:
        """For an output of this shape in a network for such pictures."""
        if len(shape) == 1:
            height = 16 + 16 * math.log10(shape[0])
            return cls(9, height, 1, 9, height)
        tall, wide = (max(7.0, LARGEST * math.sqrt(size / max(picture[:2]))) for size in shape[:2])
        sheets = min(round(math.log2(shape[2])) + 1, 12)
        behind = 2.5 * (sheets - 1)
        return cls(wide + behind, tall + behind, sheets, wide, tall)

    def draw(self, drawing: Canvas, x: float, y: float) -> None:
        """Around (x, y), the hindmost sheet first, which is the highest and the rightmost."""
        for sheet in reversed(range(self.sheets)):
            left, top = x - self.width / 2 + 2.5 * sheet, y + self.height / 2 - self.sheet_height - 2.5 * sheet
            size = self.sheet_width, self.sheet_height
            drawing.rectangle(left, top, *size, facecolor=SHEET, edgecolor=LINE, lw=0.8)


def _legend(stages: Sequence[Stage]) -> Box:
    """What the colours and the texts mean, and what is not there."""
    drawn = [layer for stage in stages for run in stage.runs for layer in layers(run.path, within=True)]
    kinds = [kind for kind in FILLS if any(layer.kind == kind for layer in drawn)]
    texts = " ".join(layer.text + channels_text(layer) for layer in drawn)
    note = "; ".join(
        [
            *(meaning for sign, meaning in NOTES.items() if sign in texts),
            "not drawn: batch and layer normalisation, activations, dropout",
        ]
    )

    def draw_legend(drawing: Canvas, x: float, y: float) -> None:
        drawing.text(x, y + 18, note, 8.5, ha="left", color=MUTED)
        for kind in kinds:
            drawing.rectangle(x, y - 5, 10, 10, radius=2, facecolor=FILLS[kind])
            drawing.text(x + 15, y, kind, 8.5, ha="left", color=MUTED)
            x += text_width(kind, 8.5) + 33

    return Box(0, text_width(note, 8.5), 24, draw_legend)


def _dimensions(shape: Shape) -> str:
    return "×".join(map(str, shape))
