"""How often things were done and how long they took, by model, version, method and status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from serving.server.metrics.histogram import Histogram, coarse, exponential, refine
from serving.server.metrics.series import OTHER
from serving.server.metrics.versions import ENDED, ByVersion

BOUNDS = exponential(10, 1.8, 33)
"""Microseconds, up to 25 minutes."""
FINE_BOUNDS = refine(BOUNDS)

MAX_UNKNOWN_MODELS = 100
MAX_NAME_LENGTH = 128


class Key(NamedTuple):
    """What was done, for whom."""

    model: str
    version: int | None
    """None: it failed before the version was known."""
    api: str
    """Predict, or "predict" of REST; "" for REST's other requests."""
    entrypoint: str = ""
    """GRPC or REST."""
    status: str = "OK"
    """As gRPC spells it, such as NOT_FOUND."""


PlainKey: TypeAlias = tuple[str, "int | None", str, str, str]
"""A Key's fields: a plain tuple is made in a third of a named one's time."""


class Counted(NamedTuple):
    """What was counted for a key."""

    key: Key
    counts: Sequence[int]
    """For FINE_BOUNDS; their sum is how often it was done."""
    total: float
    """Microseconds."""
    received: int
    """Bytes of requests."""
    sent: int
    """Bytes of answers."""

    def coarse(self) -> Counted:
        """The same for BOUNDS."""
        return self._replace(counts=coarse(self.counts))


class Cell(Histogram):
    """What is counted for one key. It observes triples: microseconds, bytes received, bytes sent."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        super().__init__(FINE_BOUNDS)
        self.received = 0
        self.sent = 0

    def _count(self, items: Sequence[tuple[int, int, int]]) -> None:
        microseconds, received, sent = zip(*items, strict=True)
        super()._count(microseconds)
        self.received += sum(received)
        self.sent += sum(sent)

    def add(self, other: Histogram) -> None:
        """Counts what the other has counted."""
        super().add(other)
        if isinstance(other, Cell):
            with self._lock:
                self.received += other.received
                self.sent += other.sent


class Latencies:
    """Histograms of whole microseconds by key. All methods may be called from any thread.

    is_served: tells whether a model of this name is known; those always count by themselves.
    """

    def __init__(self, is_served: Callable[[str], bool] = lambda name: False) -> None:
        self._is_served = is_served
        self._cells = ByVersion[Key, Cell](Cell)
        self._names: set[str] = set()
        """Of models that requests have failed for."""

    def observe(self, key: PlainKey, seconds: float, received: int = 0, sent: int = 0) -> None:
        """Counts one that took `seconds`."""
        (self._cells.get(key) or self._at(Key(*key))).observe((int(seconds * 1e6), received, sent))

    def forget(self, model: str, version: int) -> None:
        """The version is served no more: what was counted for it moves to ENDED."""
        self._cells.forget(model, version, lambda key: key._replace(version=ENDED))

    def read(self) -> list[Counted]:
        """All that was counted; a key may come more than once."""
        return [Counted(key, *cell.read(), cell.received, cell.sent) for key, cell in self._cells.items()]

    def _at(self, key: Key) -> Cell:
        return self._cells.at(key._replace(model=self._bounded(key)))

    def _bounded(self, key: Key) -> str:
        """The model's name, or OTHER for one that clients have made up, after the first hundred of those."""
        if key.status == "OK" or key.model in self._names:
            return key.model
        short = len(key.model) <= MAX_NAME_LENGTH
        if (short and len(self._names) < MAX_UNKNOWN_MODELS) or self._is_served(key.model):
            self._names.add(key.model)
            return key.model
        return OTHER
