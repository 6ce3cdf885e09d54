"""Which pictures are the same, byte for byte."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipelines.problems import Problem, ProblemKind


class Copy(NamedTuple):
    """A picture as far as its copies matter."""

    path: str
    label: str
    sha256: str
    is_prepared: bool
    """Whether it is in the data set already; it stays there."""


def find(pictures: Iterable[Copy]) -> list[Problem]:
    """A problem for each picture that is also there with another label, and for each further one with the same label.

    Of pictures with one label the first stays: one that is prepared, else the first by path.
    """
    by_content: dict[str, list[Copy]] = collections.defaultdict(list)
    for picture in pictures:
        by_content[picture.sha256].append(picture)
    problems: list[Problem] = []
    for copies in by_content.values():
        copies.sort(key=lambda copy: (not copy.is_prepared, copy.path))
        problems += _conflicts(copies) if len({copy.label for copy in copies}) > 1 else _further(copies)
    return problems


def _conflicts(copies: Sequence[Copy]) -> list[Problem]:
    other = {copy.label: next(each for each in copies if each.label != copy.label) for copy in copies}
    return [
        Problem(ProblemKind.LABEL_CONFLICT, copy.path, f"also in {other[copy.label].label}: {other[copy.label].path}")
        for copy in copies
    ]


def _further(copies: Sequence[Copy]) -> list[Problem]:
    return [Problem(ProblemKind.DUPLICATE, copy.path, f"same as {copies[0].path}") for copy in copies[1:]]
