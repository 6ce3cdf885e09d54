"""What each network promises: its numbers, checked by the tests, and what others and we have measured with it.

The table is promises.csv. Neither TensorFlow nor Keras is imported, so it can be shown at once.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from cnn_tf import naming

Shape = tuple[int, int, int]


class Promise(NamedTuple):
    """A row of promises.csv."""

    name: str
    input: Shape
    """(height, width, channels) by default."""
    classes: int
    """By default."""
    parameters_10: int
    """Trainable ones with 10 classes."""
    parameters_1000: int
    """Trainable ones with 1000 classes."""
    macs: int
    """Multiply-adds of convolutions and dense layers, for one picture with the default input and classes."""
    stages: Mapping[str, Shape]
    """Stage -> the shape of its output, for the default input; without the head."""
    receptive_field: int
    """Side of the square that one value of the last layer before the head sees."""
    paper: str
    table: str
    """Where in the paper, or whose form of it."""
    top1: float | None
    """Published accuracy on ImageNet in %, of the torchvision V1 weights that fit; None if there are none."""
    top5: float | None
    measured: str
    """Our own result: accuracy, data set and preset; empty if there is none."""

    @property
    def parameters(self) -> int:
        """Trainable ones with the default number of classes."""
        return {10: self.parameters_10, 1000: self.parameters_1000}[self.classes]


def _read(file: Path) -> Mapping[str, Promise]:
    with file.open(encoding="utf-8", newline="") as lines:
        return MappingProxyType({row["name"]: _promise(row) for row in csv.DictReader(lines)})


def _promise(row: Mapping[str, str]) -> Promise:
    stages = (stage.split(":") for stage in row["stages"].split())
    return Promise(
        name=row["name"],
        input=naming.parse_shape(row["input"]),
        classes=int(row["classes"]),
        parameters_10=int(row["parameters_10"]),
        parameters_1000=int(row["parameters_1000"]),
        macs=int(row["macs"]),
        stages={stage: naming.parse_shape(shape) for stage, shape in stages},
        receptive_field=int(row["receptive_field"]),
        paper=row["paper"],
        table=row["table"],
        top1=float(row["top1"]) if row["top1"] else None,
        top5=float(row["top5"]) if row["top5"] else None,
        measured=row["measured"],
    )


PROMISES = _read(Path(__file__).with_name("promises.csv"))
