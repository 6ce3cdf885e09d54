"""Requests a second and latencies of the last seconds, from how the counts have grown."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serving.server.metrics.histogram import quantile
from serving.server.metrics.latencies import FINE_BOUNDS, Latencies

SECONDS = 10.0


@dataclass(frozen=True)
class Rates:
    """Of one model, or of all."""

    requests_per_second: float = 0.0
    errors_per_second: float = 0.0
    """Requests that were answered by any status but OK."""
    p50: float = 0.0
    """Seconds, of all requests; 0 if there were none."""
    p99: float = 0.0
    requests: int = 0
    """Since the server runs."""
    errors: int = 0


@dataclass(frozen=True)
class _Sum:
    counts: Sequence[int] = (0,) * (len(FINE_BOUNDS) + 1)
    errors: int = 0

    def plus(self, counts: Sequence[int], errors: int) -> _Sum:
        return _Sum([one + other for one, other in zip(self.counts, counts, strict=True)], self.errors + errors)


class Recent:
    """Remembers what was counted at each call of `rates`, for ten seconds."""

    def __init__(self, latencies: Latencies, clock: Callable[[], float] = time.monotonic) -> None:
        self._latencies = latencies
        self._clock = clock
        self._past: deque[tuple[float, Mapping[str, _Sum]]] = deque([(clock(), {})])
        self._lock = threading.Lock()

    def rates(self) -> dict[str, Rates]:
        """By model, since about ten seconds ago; under "" those of all models."""
        now, sums = self._clock(), self._sums()
        with self._lock:
            while len(self._past) > 1 and self._past[1][0] <= now - SECONDS:
                self._past.popleft()
            begin, before = self._past[0]
            self._past.append((now, sums))
        seconds = max(now - begin, 1e-9)
        return {model: _rates(before.get(model, _Sum()), after, seconds) for model, after in sums.items()}

    def _sums(self) -> dict[str, _Sum]:
        sums = {"": _Sum()}
        for item in self._latencies.read():
            errors = 0 if item.key.status == "OK" else sum(item.counts)
            for model in {"", item.key.model}:
                sums[model] = sums.get(model, _Sum()).plus(item.counts, errors)
        return sums


def _rates(before: _Sum, after: _Sum, seconds: float) -> Rates:
    grown = [new - old for new, old in zip(after.counts, before.counts, strict=True)]
    return Rates(
        requests_per_second=sum(grown) / seconds,
        errors_per_second=(after.errors - before.errors) / seconds,
        p50=quantile(FINE_BOUNDS, grown, 0.5) / 1e6,
        p99=quantile(FINE_BOUNDS, grown, 0.99) / 1e6,
        requests=sum(after.counts),
        errors=after.errors,
    )
