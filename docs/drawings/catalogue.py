"""All drawings by name, and how they come into docs/pictures/ and into the page."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from PIL import Image

import cnn_tf
from cnn_tf import description, diagram
from docs.drawings import (
    channels,
    colour,
    columns,
    convolution,
    costs,
    depth,
    functions,
    kernels,
    maps,
    moments,
    normalisation,
    padding,
    pooling,
    structures,
)
from pipelines.reports import figures

DOCS = Path(__file__).parents[1]
PICTURES = DOCS / "pictures"
MEASUREMENTS = PICTURES / "measurements.json"
PAGE = DOCS / "lecture-note.md"

Measured = dict[str, Any]


class Drawing(NamedTuple):
    """How a picture comes to be."""

    draw: Callable[..., Figure]
    """With what was measured as its argument, if something is measured."""
    measure: Callable[[], Measured] | None = None
    """A training; it takes minutes."""
    table: Callable[[Measured], list[list[str]]] | None = None
    """Rows for the page, the first of them the heading."""


DRAWINGS: Mapping[str, Drawing] = {
    "correlation": Drawing(convolution.draw_correlation),
    "dense": Drawing(convolution.draw_dense),
    "edges": Drawing(convolution.draw_edges),
    "padding": Drawing(padding.draw_padding),
    "strides": Drawing(padding.draw_strides),
    "shrinking": Drawing(padding.draw_shrinking),
    "colour": Drawing(colour.draw_colour),
    "channels": Drawing(channels.draw_channels),
    "outputs": Drawing(kernels.draw_outputs),
    "conv1x1": Drawing(channels.draw_conv1x1),
    "parameters": Drawing(kernels.draw_parameters),
    "shift": Drawing(pooling.draw_shift),
    "maximum": Drawing(pooling.draw_maximum),
    "average": Drawing(pooling.draw_average),
    "lenet_maps": Drawing(maps.draw, maps.measure, maps.table),
    "alexnet": Drawing(columns.draw_alexnet),
    "first_dense": Drawing(costs.draw_first_dense),
    "nin_block": Drawing(structures.draw_nin_block),
    "totals": Drawing(costs.draw_totals),
    "deep": Drawing(costs.draw_deep),
    "inception": Drawing(structures.draw_inception),
    "inception_cost": Drawing(costs.draw_inception_cost),
    "gradients": Drawing(moments.draw_gradients),
    "moments": Drawing(moments.draw_moments),
    "batch_norm": Drawing(normalisation.draw, normalisation.measure, normalisation.table),
    "function_classes": Drawing(functions.draw_function_classes),
    "residual": Drawing(structures.draw_residual),
    "depth": Drawing(depth.draw, depth.measure, depth.table),
}


DIAGRAMS = ("lenet5", "alexnet_d2l", "vgg11", "nin", "googlenet_paper", "resnet18")
"""Networks that are drawn stage by stage, as by `cnn-tf describe NAME --plot`."""

NAMES = (*DRAWINGS, *DIAGRAMS)


def measurements() -> Measured:
    """What was measured for each drawing that needs it, from the file."""
    return dict(json.loads(MEASUREMENTS.read_text())) if MEASUREMENTS.exists() else {}


def measure(name: str) -> None:
    """Does the drawing's training, and keeps the result in the file."""
    training = DRAWINGS[name].measure if name in DRAWINGS else None
    if training is None:
        return
    kept = measurements() | {name: training()}
    lines = [f"{json.dumps(key)}: {json.dumps(kept[key])}" for key in DRAWINGS if key in kept]
    MEASUREMENTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def draw(name: str, folder: Path = PICTURES) -> Path:
    """Writes NAME.png, or NAME.svg for a diagram, into `folder`; returns the file."""
    if name in DIAGRAMS:
        path = folder / f"{name}.svg"
        diagram.save(description.describe(cnn_tf.build(name)), name, path)
        return path
    drawing = DRAWINGS[name]
    arguments = (measurements()[name],) if drawing.measure else ()
    path = folder / f"{name}.png"
    path.write_bytes(_small(figures.png(figures.LIGHT, lambda palette: drawing.draw(*arguments))))
    return path


def with_tables(page: str) -> str:
    """The page with the measured tables in their places: between <!-- measured: NAME --> and <!-- end -->."""

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        make = DRAWINGS[name].table
        if make is None:
            raise KeyError(f"The drawing {name} measures nothing.")
        return f"{match[1]}\n{_markdown(make(measurements()[name]))}\n{match[3]}"

    return re.sub(r"(<!-- measured: (\w+) -->).*?(<!-- end -->)", fill, page, flags=re.DOTALL)


def _small(png: bytes) -> bytes:
    """The same picture in at most 256 colours, which is less than half as large."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
