"""Batches and runs of TensorFlow, by model and version: a few observations, from which many families are made."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from serving.server.metrics.histogram import Histogram, coarse, exponential
from serving.server.metrics.page import Buckets, Family, Labels, histograms, scalars
from serving.server.metrics.versions import ENDED, ByVersion

SIZES = exponential(1, 2, 14)
WAITS = exponential(100, 1.2, 52)
"""Microseconds, up to a second."""
_SESSION = ":tensorflow:serving:batching_session:"


Bisect = Callable[[Sequence[float], float], int]
"""bisect_right: a size on a bound counts above it, as in TensorFlow; bisect_left: below it, as Prometheus says."""


class Key(NamedTuple):
    """Whose batch it is."""

    model: str
    version: int
    thread_pool: str


class Cell:
    """The batches of one key."""

    def __init__(self) -> None:
        self.waits = Histogram(WAITS)
        self.sizes: Counter[tuple[int, int]] = Counter()
        """How many had so many examples and so much padding."""
        self.requests: Counter[int] = Counter()
        """How many were of so many requests."""
        self._lock = threading.Lock()

    def observe(self, requests: int, examples: int, padding: int, waits: Sequence[int]) -> None:
        """Counts one batch, whose requests have waited so many microseconds."""
        self.waits.observe_all(waits)
        with self._lock:
            self.sizes[examples, padding] += 1
            self.requests[requests] += 1

    def add(self, other: Cell) -> None:
        """Counts what the other has counted."""
        with other._lock:
            sizes, requests = other.sizes.copy(), other.requests.copy()
        self.waits.add(other.waits)
        with self._lock:
            self.sizes += sizes
            self.requests += requests

    def copy(self) -> Cell:
        """What was counted until now."""
        cell = Cell()
        cell.add(self)
        return cell


class Batches:
    """All batches and runs. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._cells = ByVersion[Key, Cell](Cell)
        self.inputs = Histogram(SIZES)
        """Examples of the requests that were handed to the batcher."""
        self.runs = Histogram(exponential(1000, 2, 20))
        """Microseconds of each run of a graph."""

    def at(self, model: str, version: int, thread_pool: str) -> Cell:
        """Where batches of a model's version are counted."""
        key = (model, version, thread_pool)
        return self._cells.get(key) or self._cells.at(Key(*key))

    def forget(self, model: str, version: int) -> None:
        """The version is served no more: what was counted for it moves to ENDED."""
        self._cells.forget(model, version, lambda key: key._replace(version=ENDED))

    def families(self) -> Iterator[Family]:
        """For the page."""
        cells = [(key, cell.copy()) for key, cell in self._cells.items()]
        yield from _their_batches(cells)
        yield histograms(f"{_SESSION}input_batch_size", [((), self.inputs.buckets())])
        yield from self._graph_runs()
        yield from _our_batches([(_labels(key), cell) for key, cell in cells if key.version != ENDED])

    def _graph_runs(self) -> Iterator[Family]:
        runs = self.runs.buckets()
        number = sum(runs.counts)
        yield scalars(":tensorflow:core:graph_runs", "counter", [((), number)])
        yield scalars(":tensorflow:core:direct_session_runs", "counter", [((), number)])
        yield scalars(":tensorflow:core:graph_run_time_usecs", "counter", [((), runs.total)])
        yield histograms(":tensorflow:core:graph_run_time_usecs_histogram", [((), runs)])


def _their_batches(cells: Iterable[tuple[Key, Cell]]) -> Iterator[Family]:
    sizes: Counter[tuple[int, int]] = Counter()
    waits: dict[str, Histogram] = {}
    for key, cell in cells:
        sizes += cell.sizes
        waits.setdefault(key.thread_pool, Histogram(WAITS)).add(cell.waits)
    by_size: dict[int, Counter[int]] = {}
    for (examples, padding), number in sizes.items():
        by_size.setdefault(examples + padding, Counter())[padding] += number
    run = Counter({size: sum(paddings.values()) for size, paddings in by_size.items()})
    yield scalars(f"{_SESSION}wrapped_run_count", "counter", [((), sum(run.values()))])
    yield histograms(f"{_SESSION}processed_batch_size", [((), _sizes(run, bisect_right))])
    yield histograms(
        f"{_SESSION}padding_size",
        [
            ((("execution_batch_size", str(size)),), _sizes(paddings, bisect_right))
            for size, paddings in by_size.items()
        ],
    )
    yield histograms(
        f"{_SESSION}queuing_latency",
        [((("thread_pool_name", name),), histogram.buckets()) for name, histogram in waits.items()],
    )


def _our_batches(cells: Sequence[tuple[Labels, Cell]]) -> Iterator[Family]:
    def sizes(count: Callable[[Cell], Counter[int]]) -> list[tuple[Labels, Buckets]]:
        return [(labels, _sizes(count(cell), bisect_left)) for labels, cell in cells]

    yield histograms("cnn_tf_batch_examples", sizes(_examples))
    yield histograms("cnn_tf_batch_requests", sizes(lambda cell: cell.requests))
    yield histograms("cnn_tf_queue_seconds", [(labels, _in_seconds(cell.waits)) for labels, cell in cells])
    padding = [(labels, sum(padding * number for (_, padding), number in cell.sizes.items())) for labels, cell in cells]
    yield scalars("cnn_tf_padding_examples_total", "counter", padding)


def _examples(cell: Cell) -> Counter[int]:
    count: Counter[int] = Counter()
    for (examples, _), number in cell.sizes.items():
        count[examples] += number
    return count


def _sizes(count: Counter[int], bisect: Bisect) -> Buckets:
    counts = [0] * (len(SIZES) + 1)
    for size, number in count.items():
        counts[bisect(SIZES, size)] += number
    return Buckets(SIZES, counts, sum(size * number for size, number in count.items()))


def _in_seconds(waits: Histogram) -> Buckets:
    counts, total = waits.read()
    return Buckets([bound / 1e6 for bound in WAITS[::3]], coarse(counts, 3), total / 1e6)


def _labels(key: Key) -> Labels:
    return ("model", key.model), ("version", str(key.version))
