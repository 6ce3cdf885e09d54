"""The text that Prometheus reads, as TensorFlow Serving writes it: `# TYPE` lines without HELP, and braces always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = "tuple[tuple[str, str], ...]"
"""Names and values, in the order in which they are printed."""

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Buckets(NamedTuple):
    """What a histogram counted: `counts[i]` values below `bounds[i]`, not below the one before; one count more than bounds."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float
    """The sum of the values."""


class Family(NamedTuple):
    """All that is printed under one name."""

    name: str
    kind: str
    """counter, gauge or histogram."""
    lines: Sequence[str]


def scalars(name: str, kind: str, points: Iterable[tuple[Labels, float]]) -> Family:
    """A family of counters or gauges."""
    return Family(name, kind, [f"{name}{{{_labels(labels)}}} {_number(value)}" for labels, value in sorted(points)])


def histograms(name: str, points: Iterable[tuple[Labels, Buckets]]) -> Family:
    """A family of histograms, whose counts are printed cumulatively."""
    return Family(
        name, "histogram", [line for labels, buckets in sorted(points) for line in _histogram(name, labels, buckets)]
    )


def text(families: Iterable[Family]) -> str:
    """The page, sorted by names."""
    lines = []
    for family in sorted(families):
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.extend(family.lines)
    return "\n".join(lines) + "\n"


def _histogram(name: str, labels: Labels, buckets: Buckets) -> Iterable[str]:
    printed = _labels(labels)
    prefix = f'{name}_bucket{{{printed}{"," if printed else ""}le="'
    cumulative = list(accumulate(buckets.counts))
    # Bounds have six digits, as the original prints them: they are part of a series' name.
    for bound, count in zip([*(f"{bound:g}" for bound in buckets.bounds), "+Inf"], cumulative, strict=True):
        yield f'{prefix}{bound}"}} {count}'
    yield f"{name}_sum{{{printed}}} {_number(buckets.total)}"
    yield f"{name}_count{{{printed}}} {cumulative[-1]}"


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)


def _number(value: float) -> str:
    # All its digits, unlike the original, whose sums stand still once they are a million times larger than what is added.
    return str(int(value)) if value == int(value) else repr(float(value))
