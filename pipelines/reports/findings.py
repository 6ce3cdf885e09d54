"""What deserves attention in a data set before anybody trains on it, in plain sentences with their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.manifest import GREY_MODES, SPLITS
from pipelines.problems import EXPLANATIONS, ProblemKind
from pipelines.reports.figures import percent

IMBALANCE = 10  # pictures of the largest class to those of the smallest
SMALL_SIDE = 32  # pixels
SIZE_RATIO = 10  # longest side to shortest, of the longer sides
ELONGATED = 3  # longer side to shorter
NAMED = 6  # classes, in a sentence

# They spoil what a training measures; the others only cost pictures.
GRAVE = (ProblemKind.SINGLE_CLASS, ProblemKind.EMPTY_CLASS, ProblemKind.LABEL_CONFLICT)


@dataclass(frozen=True)
class Finding:
    """A number, what it counts, and what that means."""

    number: str
    title: str
    text: str


def find(
    class_names: Sequence[str],
    statistics: Mapping[str, Any],
    problems: Mapping[str, int],
    sizes: npt.NDArray[np.int32],
) -> list[Finding]:
    """All that is to be said, the gravest first.

    statistics: as in statistics.json; problems: how often each kind occurs; sizes: (N, 2) width and height, pixels.
    """
    counts = {name: statistics["classes"].get(name, {}) for name in class_names}
    splits = [split for split in SPLITS if statistics["splits"].get(split)]
    return [
        *_problems({kind: count for kind, count in problems.items() if kind in GRAVE}),
        *_missing(counts, splits),
        *_imbalance(counts, splits),
        *_problems({kind: count for kind, count in problems.items() if kind not in GRAVE}),
        *_grey(statistics["modes"]),
        *_sizes(sizes),
    ]


def _problems(problems: Mapping[str, int]) -> Iterator[Finding]:
    for kind, count in sorted(problems.items(), key=lambda item: (-item[1], item[0])):
        yield Finding(f"{count:,}", kind.replace("_", " "), EXPLANATIONS.get(kind, ""))


def _missing(counts: Mapping[str, Mapping[str, int]], splits: Sequence[str]) -> Iterator[Finding]:
    for split in splits:
        missing = [name for name, of_class in counts.items() if not of_class.get(split)]
        if missing:
            effect = "cannot be learned" if split == "train" else "are not measured"
            text = f"Without a picture there, they {effect}: {_some(missing)}."
            yield Finding(f"{len(missing):,}", f"of {len(counts):,} classes missing in {split}", text)


def _imbalance(counts: Mapping[str, Mapping[str, int]], splits: Sequence[str]) -> Iterator[Finding]:
    counted = {name: of_class.get("train", 0) for name, of_class in counts.items()}
    if "train" not in splits:
        counted = {name: sum(of_class.values()) for name, of_class in counts.items()}
    there = {name: count for name, count in counted.items() if count}
    if not there or max(there.values()) <= IMBALANCE * min(there.values()):
        return
    largest, smallest = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
    text = (
        f"“{largest}” has {there[largest]:,} pictures{' in train' if 'train' in splits else ''}, “{smallest}” has "
        f"{there[smallest]:,}. A network may do well by the accuracy and never name a small class: look at each recall."
    )
    yield Finding(f"{there[largest] / there[smallest]:,.0f} : 1", "between the largest and the smallest class", text)


def _grey(modes: Mapping[str, int]) -> Iterator[Finding]:
    grey, total = sum(modes.get(mode, 0) for mode in GREY_MODES), sum(modes.values())
    if 0 < grey < total:
        text = "A network then sees three equal channels. Where some classes are mostly grey, it may learn that alone."
        yield Finding(
            f"{grey:,}", f"of {total:,} pictures are grey among coloured ones ({percent(grey / total)})", text
        )


def _sizes(sizes: npt.NDArray[np.int32]) -> Iterator[Finding]:
    if len(np.unique(sizes, axis=0)) < 2:
        return
    shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
    small, elongated = int((shorter < SMALL_SIDE).sum()), int((longer > ELONGATED * shorter).sum())
    if small:
        width, height = sizes[np.lexsort((longer, shorter))[0]]
        text = f"The smallest is {width} × {height}. Enlarged to a network's size, they hold little to learn from."
        yield Finding(f"{small:,}", f"of {len(sizes):,} pictures have a side under {SMALL_SIDE} pixels", text)
    if longer.max() > SIZE_RATIO * longer.min():
        text = f"The longer sides go from {longer.min():,} to {longer.max():,} pixels; a network sees all at one size."
        yield Finding(f"{longer.max() / longer.min():,.0f} : 1", "between the largest and the smallest picture", text)
    if elongated:
        text = "Stretched to a square they are distorted, cropped they lose their ends; data.fit=letterbox keeps both."
        yield Finding(
            f"{elongated:,}", f"of {len(sizes):,} pictures have a side over {ELONGATED} times the other", text
        )


def _some(names: Sequence[str]) -> str:
    """The first few, saying so."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
