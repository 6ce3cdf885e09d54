"""The rows of `description.describe`, gathered to what a person would draw: stages, their blocks, and the blocks' branches.

All comes from the rows' names, STAGE_BLOCK_..._KIND, from their kinds and from how they are connected; so a new network
needs nothing here. Layers that people leave out of drawings (normalisation, activation, dropout, padding) are left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cnn_tf.description import LayerRow, Shape, Totals, totals

MERGES = ("Add", "Concatenate", "Multiply")
KINDS = {
    **dict.fromkeys(("Conv2D", "GroupedConv2D", "DepthwiseConv2D"), "convolution"),
    **dict.fromkeys(
        ("MaxPooling2D", "AveragePooling2D", "AdaptiveAveragePooling2D", "GlobalAveragePooling2D"), "pooling"
    ),
    "Dense": "dense",
    "LocalResponseNormalization": "local response normalisation",
}
POOLINGS = {"MaxPooling2D": "max pool", "GlobalAveragePooling2D": "global average"}


class Layer(NamedTuple):
    """A layer, or the same layer of blocks that follow each other."""

    name: str
    kind: str
    """A value of KINDS."""
    text: str
    """Such as "3×3 /2": kernel and strides."""
    channels: tuple[int, int]
    """That it gives: the least and the most of all blocks."""


class Branches(NamedTuple):
    """Paths that begin at the same place and meet in a layer."""

    name: str
    merge: str
    """One of MERGES."""
    paths: tuple[Path, ...]
    """An empty one is a shortcut."""


Path = tuple["Layer | Branches", ...]


class Run(NamedTuple):
    """Blocks that follow each other and differ in nothing but their numbers of channels."""

    blocks: tuple[str, ...]
    """Their names; ("",) if the stage's layers stand in no block."""
    path: Path


class Stage(NamedTuple):
    """A stage: what the layers share whose names begin alike."""

    name: str
    runs: tuple[Run, ...]
    output_shape: Shape
    totals: Totals


def outline(rows: Sequence[LayerRow]) -> list[Stage]:
    """The stages, from "input" to "head"."""
    by_name = {row.name: row for row in rows}
    stages: dict[str, list[LayerRow]] = {}
    for row in rows:
        # Names without "_" are those of the first layers, and "logits".
        name = row.name.partition("_")[0] if "_" in row.name else "head" if len(stages) > 1 else "input"
        stages.setdefault(name, []).append(row)
    return [
        Stage(name, tuple(_runs(members, by_name)), members[-1].output_shape, totals(members))
        for name, members in stages.items()
    ]


def _runs(members: Iterable[LayerRow], by_name: dict[str, LayerRow]) -> Iterable[Run]:
    blocks = [Run((name,), _path(rows, by_name)) for name, rows in itertools.groupby(members, _block)]
    for _, equal in itertools.groupby(blocks, lambda run: (bool(run.blocks[0]), structure(run.path))):
        runs = list(equal)
        path = runs[0].path
        for run in runs[1:]:
            path = _widen(path, run.path)
        if path:
            yield Run(tuple(run.blocks[0] for run in runs), path)


def _block(row: LayerRow) -> str:
    """The part "block2" of "stage1_block2_1_conv", "a" of "stage3_a_1x1_conv"; "" for what stands in no block."""
    match = re.match(r"[^_]+_((block|layer)\d+|[a-z])_", row.name)
    return match[1] if match else ""


def _path(rows: Iterable[LayerRow], by_name: dict[str, LayerRow]) -> Path:
    """What is drawn from where the rows begin to the last of them."""
    paths: dict[str, Path] = {}
    path: Path = ()
    for row in rows:
        before = [paths.get(name, ()) for name in row.inputs]
        path = _merge(row, before) if row.kind in MERGES else before[0] if before else ()
        if row.kind in KINDS and _does_something(row, by_name[row.inputs[0]]):
            path = (*path, _layer(row))
        paths[row.name] = path
    return path


def _merge(row: LayerRow, paths: list[Path]) -> Path:
    shared = 0
    while all(len(path) > shared for path in paths) and len({path[shared] for path in paths}) == 1:
        shared += 1
    before, ways = paths[0][:shared], tuple(path[shared:] for path in paths)
    if row.kind == "Multiply" and () in ways:  # by weights that come from the channels themselves
        channels = row.output_shape[-1]
        return (*before, Layer(row.name, "squeeze and excitation", "SE", (channels, channels)))
    return (*before, Branches(row.name, row.kind, ways))


def _does_something(row: LayerRow, before: LayerRow) -> bool:
    return row.kind != "AdaptiveAveragePooling2D" or row.output_shape != before.output_shape


def _layer(row: LayerRow) -> Layer:
    kind, channels = KINDS[row.kind], row.output_shape[-1]
    text = {"local response normalisation": "LRN", "dense": "dense"}.get(kind)
    if text is None:
        text = _convolution(row) if kind == "convolution" else _pooling(row)
    return Layer(row.name, kind, text, (channels, channels))


def _pooling(row: LayerRow) -> str:
    name = POOLINGS.get(row.kind, "average pool")
    if row.kernel_size is None or row.strides is None:
        return name
    if row.kernel_size == (1, 1):
        return f"1 of {_by(row.strides)}"
    return name if row.output_shape[0] == 1 else f"{name} {_by(row.kernel_size)}{_slash(row.strides)}"


def _convolution(row: LayerRow) -> str:
    """Kernel, strides and groups."""
    if row.kernel_size is None or row.strides is None:
        return "convolution"
    is_depthwise = row.kind == "DepthwiseConv2D"
    detail = " dw" if is_depthwise else f", {row.groups} groups" if row.groups > 1 else ""
    return f"{_by(row.kernel_size)}{detail}{_slash(row.strides)}"


def _by(size: tuple[int, int]) -> str:
    return "×".join(map(str, size))


def _slash(strides: tuple[int, int]) -> str:
    return f" /{max(strides)}" if max(strides) > 1 else ""


def layers(path: Path, *, within: bool = False) -> Iterator[Layer]:
    """Those of a path, and of its shortcuts' longer ways; `within`: of all branches."""
    for step in path:
        if isinstance(step, Layer):
            yield step
        elif within or len(step.paths) == 2:
            for branch in step.paths:
                yield from layers(branch, within=within)


def structure(path: Path) -> tuple[object, ...]:
    """What is the same in paths that differ only in names and numbers of channels."""
    return tuple(step.text if isinstance(step, Layer) else (step.merge, *map(structure, step.paths)) for step in path)


def _widen(path: Path, other: Path) -> Path:
    """`path`, with the channels of both."""
    widened: list[Layer | Branches] = []
    for step, same in zip(path, other, strict=True):
        if isinstance(step, Layer) and isinstance(same, Layer):
            both = step.channels + same.channels
            widened.append(step._replace(channels=(min(both), max(both))))
        elif isinstance(step, Branches) and isinstance(same, Branches):
            paths = tuple(_widen(*pair) for pair in zip(step.paths, same.paths, strict=True))
            widened.append(step._replace(paths=paths))
    return tuple(widened)
