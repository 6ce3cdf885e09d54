"""What a load has shown, for people and for programs."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Column, Table

from serving.client.bench.load import Load, Measured

# One answer in so many is slower.
_SLOWER = {"p50": 2, "p90": 10, "p99": 100, "p99.9": 1000}
NAMES = (*_SLOWER, "max")
# Above this share of a CPU, Python's one thread is busy, and what is measured may be this client.
BUSY = 0.9


class Asked(NamedTuple):
    """What was asked of whom."""

    server: str
    model: str
    batch_size: int
    request_bytes: int
    load: Load

    def __str__(self) -> str:
        load = self.load
        pace = (
            f"open loop, {load.rate:,g} requests/s"
            if load.rate
            else f"closed loop, {_number(load.callers or 1, 'caller')}"
        )
        size = f"{_number(self.batch_size, 'example')} a request ({self.request_bytes / 1000:,.1f} KB)"
        return f"{self.model} at {self.server}: {pace}, {size}, {load.seconds:g} s"


def ranks(count: int) -> dict[str, int]:
    """Where the percentiles are among `count` > 0 values in ascending order."""
    return {**{name: count - 1 - count // every for name, every in _SLOWER.items()}, "max": count - 1}


def percentiles(measured: Measured) -> dict[str, float]:
    """Milliseconds by name, exact; {} if nothing was answered."""
    ordered = sorted(measured.latencies)
    return {name: 1000 * ordered[rank] for name, rank in ranks(len(ordered)).items()} if ordered else {}


def rate(measured: Measured) -> float:
    """Answers per second."""
    return len(measured.latencies) / measured.seconds


def table(measured: Measured) -> Table:
    """One row."""
    found = percentiles(measured)
    columns = ["requests/s", "failed", *[f"{name}, ms" for name in NAMES]]
    drawn = Table(*[Column(name, justify="right") for name in columns])
    times = [f"{found[name]:.2f}" if found else "-" for name in NAMES]
    drawn.add_row(f"{rate(measured):,.1f}", f"{measured.failures.total():,}", *times)
    return drawn


def notes(measured: Measured) -> list[str]:
    """What is to be known beside the table, a sentence each."""
    said = []
    if not measured.latencies and not measured.failures:
        said.append("No request was due in that time: ask for more --seconds, or a higher --rate.")
    elif not measured.latencies:
        said.append("Nothing was answered, so there are no percentiles, and nothing to draw.")
    if measured.failures:
        counts = ", ".join(f"{code} {count:,}" for code, count in measured.failures.most_common())
        said.append(f"Failed, and not in the percentiles: {counts}.")
    if measured.latencies and measured.cpu > BUSY:
        said.append(
            f"This client took {measured.cpu:.0%} of a CPU, so it may be what was measured: ask for less, or run several."
        )
    return said


def document(asked: Asked, measured: Measured) -> dict[str, object]:
    """The same for programs; latencies in milliseconds."""
    load = asked.load
    return {
        "server": asked.server,
        "model": asked.model,
        "examples_per_request": asked.batch_size,
        "request_bytes": asked.request_bytes,
        "loop": "open" if load.rate else "closed",
        "callers": load.callers,
        "rate": load.rate,
        "seconds": measured.seconds,
        "answered": len(measured.latencies),
        "requests_per_second": rate(measured),
        "failed": dict(measured.failures),
        "latency_ms": percentiles(measured),
        "client_cpu": measured.cpu,
    }


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
