"""Counters and histograms by labels, of bounded number."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

from serving.server.metrics.histogram import Histogram
from serving.server.metrics.page import Family, Labels, histograms, scalars

MAX_SERIES = 1000
OTHER = "other"
"""The label of what comes when a family is full, so that nobody can make the page grow without end."""

Cell = TypeVar("Cell")


class Series(Generic[Cell]):
    """A cell for each combination of label values."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = labels
        self._cells: dict[tuple[str, ...], Cell] = {}

    def _at(self, values: tuple[str, ...], cell: Cell) -> Cell:
        """The cell of new label values: `cell`, or another if there is one or the family is full."""
        if len(self._cells) >= MAX_SERIES:
            values = (OTHER,) * len(values)
        return self._cells.setdefault(values, cell)

    def _points(self) -> list[tuple[Labels, Cell]]:
        return [(tuple(zip(self._labels, values, strict=True)), cell) for values, cell in self._cells.copy().items()]


class Counters(Series["list[int]"]):
    """Numbers that only grow."""

    def __init__(self, name: str, *labels: str) -> None:
        super().__init__(name, labels)
        self._lock = threading.Lock()
        if not labels:  # the one series is there from the beginning
            self._cells[()] = [0]

    def add(self, number: int, *values: str) -> None:
        """Adds `number` to the counter of these label values."""
        cell = self._cells.get(values) or self._at(values, [0])
        with self._lock:
            cell[0] += number

    def family(self) -> Family:
        """For the page."""
        return scalars(self.name, "counter", [(labels, cell[0]) for labels, cell in self._points()])


class Histograms(Series[Histogram]):
    """Distributions of values."""

    def __init__(self, name: str, *labels: str, bounds: Sequence[float]) -> None:
        super().__init__(name, labels)
        self._bounds = bounds

    def observe(self, value: float, *values: str) -> None:
        """Counts `value` in the histogram of these label values."""
        (self._cells.get(values) or self._at(values, Histogram(self._bounds))).observe(value)

    def family(self) -> Family:
        """For the page."""
        return histograms(self.name, [(labels, cell.buckets()) for labels, cell in self._points()])
