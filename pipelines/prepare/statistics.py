"""Numbers about a data set, exact and in no need of an order: for statistics.json and the report."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.manifest import GREY_MODES, SPLITS
from pipelines.prepare.inspection import Record
from pipelines.problems import Problem


def describe(
    table: pa.Table, class_names: Sequence[str], records: Mapping[str, Record], problems: Iterable[Problem]
) -> dict[str, Any]:
    """Of the manifest's table. mean, std: of the values of each channel in the training split, 0..1; one if all is grey."""
    rows = table.to_pylist()
    placed = collections.Counter((row["label"], row["split"]) for row in rows)
    mean, std = _channels([records[row["path"]] for row in rows if row["split"] == "train"])
    splits = [split for split in SPLITS if any(row["split"] == split for row in rows)]
    channels = 1 if {row["mode"] for row in rows} <= GREY_MODES else 3
    return {
        "pictures": len(rows),
        "bytes": sum(row["bytes"] for row in rows),
        "splits": {split: sum(row["split"] == split for row in rows) for split in splits},
        "classes": {label: {split: placed[label, split] for split in splits} for label in class_names},
        "mean": mean[:channels],
        "std": std[:channels],
        "modes": _counts(row["mode"] for row in rows),
        "formats": _counts(row["format"] for row in rows),
        "sizes": {
            "width": _spread([row["width"] for row in rows]),
            "height": _spread([row["height"] for row in rows]),
            "histogram": _histogram([max(row["width"], row["height"]) for row in rows]),
        },
        "problems": _counts(problem.kind for problem in problems),
    }


def _channels(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Means and standard deviations of all pixels of the pictures together; empty if there are none."""
    pixels = sum(record.width * record.height for record in records)
    sums = [sum(values) for values in zip(*(record.sums for record in records), strict=True)]
    squares = [sum(values) for values in zip(*(record.squares for record in records), strict=True)]
    mean = [value / pixels / 255 for value in sums]
    variance = [(pixels * square - value**2) / pixels**2 for value, square in zip(sums, squares, strict=True)]
    return mean, [math.sqrt(value) / 255 for value in variance]


def _spread(values: Sequence[int]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _histogram(sides: Iterable[int]) -> list[tuple[int, int, int]]:
    """(lower edge, upper edge, how many are from the lower to below the upper), between powers of two."""
    counts = collections.Counter(side.bit_length() for side in sides)
    return [(2 ** (bits - 1), 2**bits, counts[bits]) for bits in sorted(counts)]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(values).items()))
