"""AlexNet: LeNet's layers beside AlexNet's, as the note's figure has them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from matplotlib.figure import Figure

from cnn_tf import description
from cnn_tf.description import LayerRow
from docs.drawings.sheet import FILL, INK, MUTED, SOFT, Place, Sheet

WIDTH, HEIGHT, STEP = 220.0, 26.0, 38.0
POOLINGS = {"AveragePooling2D": "average", "MaxPooling2D": "maximum"}


def draw_alexnet() -> Figure:
    """Both read upwards; convolutions stand out."""
    sheet = Sheet(760, 590)
    sheet.title("From LeNet to AlexNet", "Read upwards. In red the convolutions; on the right what comes out.")
    for left, name, note, model in (
        (40, "LeNet", "sigmoids", "lenet5"),
        (410, "AlexNet (d2l.ai, grey pictures)", "ReLU, dropout behind the first two dense layers", "alexnet_d2l"),
    ):
        sheet.text((left + WIDTH / 2, 554), name, weight="bold")
        sheet.text((left + WIDTH / 2, 572), note, color=MUTED, size=9)
        _column(sheet, (left, 506), layers(model))
    return sheet.figure


@functools.cache
def layers(model: str) -> tuple[LayerRow, ...]:
    """The input, and what is a box in the picture: convolutions, poolings, dense layers."""
    import cnn_tf

    rows = description.describe(cnn_tf.build(model))
    return tuple(row for row in rows if row.kind in ("InputLayer", "Conv2D", "Dense", *POOLINGS))


def caption(row: LayerRow) -> str:
    """What the box of a layer says."""
    if row.kind == "InputLayer":
        return "picture"
    if row.kind == "Dense":
        return f"dense, {row.output_shape[-1]}"
    size, strides = (row.kernel_size or (1,))[0], (row.strides or (1,))[0]
    kind = POOLINGS.get(row.kind, "convolution")
    filters = f", {row.output_shape[-1]}" if row.kind == "Conv2D" else ""
    return f"{size}x{size} {kind}{filters}{f', strides {strides}' if strides > 1 else ''}"


def _column(sheet: Sheet, at: Place, rows: Sequence[LayerRow]) -> None:
    """Boxes upwards from `at`, arrows between them."""
    left, bottom = at
    for number, row in enumerate(rows):
        top = bottom - STEP * number
        sheet.box((left, top), (WIDTH, HEIGHT), SOFT if row.kind == "Conv2D" else FILL)
        sheet.text((left + WIDTH / 2, top + HEIGHT / 2), caption(row), color=INK)
        shape = "x".join(map(str, row.output_shape))
        sheet.text((left + WIDTH + 10, top + HEIGHT / 2), shape, ha="left", color=MUTED, size=9)
        if number:
            sheet.arrow((left + WIDTH / 2, top + STEP), (left + WIDTH / 2, top + HEIGHT), mutation_scale=8)
