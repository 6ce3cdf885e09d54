"""Counts of values by size, safe to add to from several threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from serving.server.metrics.page import Buckets

MANY = 256
"""Values that may wait to be counted."""
FINENESS = 4
"""Fine buckets between two bounds of the page; latencies are then known to a sixth of their value."""


def exponential(first: float, growth: float, count: int) -> tuple[float, ...]:
    """`count` upper bounds: `first`, and each `growth` times the one before, in TensorFlow's rounding."""
    bounds = [first]
    while len(bounds) < count:
        bounds.append(bounds[-1] * growth)
    return tuple(bounds)


def refine(bounds: Sequence[float]) -> tuple[float, ...]:
    """The same bounds with FINENESS - 1 more between neighbours, so that every FINENESS-th is one of `bounds`."""
    fine = [bounds[0]]
    for low, high in pairwise(bounds):
        fine += [low * (high / low) ** (step / FINENESS) for step in range(1, FINENESS)] + [high]
    return tuple(fine)


class Histogram:
    """How many values were seen in each bucket, and their sum. A value on a bound counts above it, as in TensorFlow.

    A value is only noted when it is seen; hundreds at a time are counted, which costs a fraction of counting each.
    """

    __slots__ = ("_bounds", "_counts", "_lock", "_news", "_total", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._bounds = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._total = 0.0
        self._news: list[Any] = []
        self._lock = threading.Lock()

    def observe(self, value: Any) -> None:
        """Counts one value."""
        news = self._news
        news.append(value)
        if len(news) >= MANY:
            self._settle()

    def observe_all(self, values: Sequence[float]) -> None:
        """Counts several values."""
        self._news.extend(values)
        if len(self._news) >= MANY:
            self._settle()

    def add(self, other: Histogram) -> None:
        """Counts what `other`, of the same bounds, has counted."""
        counts, total = other.read()
        with self._lock:
            self._counts += counts
            self._total += total

    def read(self) -> tuple[list[int], float]:
        """Counts and sum, of one moment."""
        self._settle()
        with self._lock:
            return self._counts.tolist(), self._total

    def _settle(self) -> None:
        """Counts what was noted."""
        with self._lock:
            # Only here something is taken away; what others append meanwhile stays for the next time.
            if items := self._news[:]:
                del self._news[: len(items)]
                self._count(items)

    def _count(self, items: Sequence[Any]) -> None:
        """Counts what was noted; the lock is held."""
        places = np.searchsorted(self._bounds, items, "right")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._total += sum(items)

    def buckets(self) -> Buckets:
        """The same for the page."""
        return Buckets(self.bounds, *self.read())


def coarse(counts: Sequence[int], step: int = FINENESS) -> list[int]:
    """Counts for bounds -> counts for `bounds[::step]`, of which the last must be the last of `bounds` too."""
    starts = [0, *range(1, len(counts) - 1, step), len(counts) - 1]
    return [sum(counts[start:end]) for start, end in pairwise([*starts, len(counts)])]


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    """The value that a `share` (0 to 1) of what was counted is below; 0 if nothing was."""
    wanted = sum(counts) * share
    below = 0
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            low = bounds[place - 1] if place else 0.0
            high = bounds[min(place, len(bounds) - 1)]
            return low + (high - low) * (wanted - below) / count
        below += count
    return 0.0
