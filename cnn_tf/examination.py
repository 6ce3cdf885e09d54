"""A network's numbers, without its weights: layers, parameters, multiply-adds and an estimate of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn_tf import description, models, options
from cnn_tf.description import LayerRow


class Memory(NamedTuple):
    """Bytes, by arithmetic, of float32 numbers."""

    weights: int
    training: int
    """The outputs of all layers, the picture among them, for a batch."""
    inference: int
    """Inputs and outputs, for a batch, of the layer where they are largest together."""
    inference_layer: str
    """Its name."""


class Report(NamedTuple):
    """What there is to tell of a network."""

    name: str
    input: Sequence[int]
    classes: int
    batch: int
    layers: Sequence[LayerRow]
    parameters: int
    """Trainable ones."""
    fixed: int
    """Numbers that are kept but not trained."""
    macs: int
    memory: Memory

    def as_json(self) -> dict[str, Any]:
        """As a dictionary of plain values."""
        layers = [row._asdict() for row in self.layers]
        return {**self._asdict(), "layers": layers, "memory": self.memory._asdict()}


def examine(name: str, shape: tuple[int, int, int] | None, classes: int | None, batch: int) -> Report:
    """Of the network `name` for pictures of `shape` (None: its own) and `classes`. Raises NetworkError."""
    with options.without_weights():
        rows = description.describe(models.build(name, shape, classes))
    sums = description.totals(rows)
    weights = sums.parameters + sums.statistics
    return Report(
        name=name,
        input=rows[0].output_shape,
        classes=rows[-1].output_shape[-1],
        batch=batch,
        layers=rows,
        parameters=sums.parameters,
        fixed=sums.statistics,
        macs=sums.macs,
        memory=_memory(rows, weights, batch),
    )


def _memory(rows: Sequence[LayerRow], weights: int, batch: int) -> Memory:
    sizes = {row.name: 4 * batch * math.prod(row.output_shape) for row in rows}
    at_once = {row.name: sizes[row.name] + sum(sizes[name] for name in row.inputs) for row in rows}
    largest = max(at_once, key=at_once.__getitem__)
    return Memory(4 * weights, sum(sizes.values()), at_once[largest], largest)
