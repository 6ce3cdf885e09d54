"""Decides, from what was found in all pictures, which of them join the data set, under which id and in which split.

Nothing is read or written here; the same findings give the same arrangement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from pipelines.manifest import SPLITS
from pipelines.prepare import duplicates, near_duplicates
from pipelines.prepare.duplicates import Copy
from pipelines.prepare.inspection import THUMBNAIL, Record
from pipelines.prepare.settings import Settings
from pipelines.prepare.shards import Row
from pipelines.prepare.splits import Member, assign, require_whole_groups
from pipelines.problems import Problem, ProblemKind
from pipelines.sources.base import Candidate

ID_DIGITS = 16

# Problems of a class or a split, not of a file.
OF_MANY = frozenset({ProblemKind.EMPTY_CLASS, ProblemKind.SINGLE_CLASS})


@dataclass(frozen=True)
class Arrangement:
    """rows: of the pictures that join, by path, not yet in a shard."""

    rows: list[Row]
    class_names: list[str]
    problems: list[Problem]
    splits: dict[str, str]
    """Path -> split, also of those left out because they are nearly in another: so they are left out the next time too."""
    files: int
    left_out: list[Problem]
    """The problems for which files are left out, one a file."""


@dataclass(frozen=True)
class ClassOrder:
    """The order of classes: those that are prepared stay where they are, new ones follow as the source has them, or by name."""

    prepared: Sequence[str]
    source: Sequence[str]

    def of(self, found: AbstractSet[str]) -> list[str]:
        """All that are prepared or found."""
        new = found - set(self.prepared)
        told = [name for name in self.source if name in new]
        return [*self.prepared, *told, *sorted(new - set(told))]


def arrange(
    candidates: Sequence[Candidate],
    listed: Sequence[Problem],
    records: Mapping[str, Record],
    prepared: Sequence[Row],
    order: ClassOrder,
    kept: AbstractSet[str],
    settings: Settings,
) -> Arrangement:
    """candidates: all, with a record each; listed: problems found in listing; prepared: of the data set so far.

    What is prepared never changes its split, id or class. Of duplicates the prepared one stays, else the first by path. Of
    nearly the same pictures in different splits the prepared one stays, else that in the more held-out split (test before
    validation before train), so that a test set is not thinned by what happens to be in the larger training set.
    Problems of the kinds `kept` are told, and their pictures join all the same. Raises UsageError for a divided group.
    """
    problems = [*listed, *(Problem(r.kind, r.path, r.detail) for r in map(_record(records), candidates) if r.kind)]
    old = {row["path"] for row in prepared}
    usable = [c for c in candidates if c.path not in old and _is_usable(records[c.path], kept)]

    same = duplicates.find(
        [Copy(row["path"], row["label"], row["sha256"], True) for row in prepared]
        + [Copy(c.path, c.label, records[c.path].sha256, False) for c in usable]
    )
    usable = _without(usable, same, kept)

    splits = _splits(usable, records, prepared, settings)
    near = _near(usable, records, prepared, splits)
    usable = _without(usable, near, kept)

    rows = _rows(usable, records, splits, {row["id"] for row in prepared})
    problems += same + near
    names = order.of({row["label"] for row in rows})
    left_out = list({p.path: p for p in problems if p.kind not in kept | OF_MANY and p.path not in old}.values())
    problems += _empty_classes(candidates, names, listed) + _single_classes([*prepared, *rows])
    files = len({c.path for c in candidates} | {p.path for p in listed if p.kind not in OF_MANY})
    return Arrangement(rows, names, sorted(problems), splits, files, left_out)


def _record(records: Mapping[str, Record]) -> Callable[[Candidate], Record]:
    return lambda candidate: records[candidate.path]


def _is_usable(record: Record, kept: AbstractSet[str]) -> bool:
    return record.is_decoded and (not record.kind or record.kind in kept)


def _without(usable: Iterable[Candidate], problems: Iterable[Problem], kept: AbstractSet[str]) -> list[Candidate]:
    out = {problem.path for problem in problems if problem.kind not in kept}
    return [candidate for candidate in usable if candidate.path not in out]


def _splits(
    usable: Sequence[Candidate], records: Mapping[str, Record], prepared: Sequence[Row], settings: Settings
) -> dict[str, str]:
    """Path -> split of each usable candidate."""
    before = [Member(row["group"] or row["sha256"], row["label"], row["split"]) for row in prepared]
    members = [
        Member(c.group or records[c.path].sha256, c.label, c.split or records[c.path].split or None) for c in usable
    ]
    groups = [row["group"] for row in prepared] + [candidate.group for candidate in usable]
    require_whole_groups(member for member, group in zip(before + members, groups, strict=True) if group)
    chosen = assign(before + members, settings.shares, stratify=settings.stratify)[len(before) :]
    return {candidate.path: split for candidate, split in zip(usable, chosen, strict=True)}


def _near(
    usable: Sequence[Candidate], records: Mapping[str, Record], prepared: Sequence[Row], splits: Mapping[str, str]
) -> list[Problem]:
    """A problem for each picture that is nearly one that stays in another split."""
    where = {row["path"]: row["split"] for row in prepared} | {c.path: splits[c.path] for c in usable}
    old = {row["path"] for row in prepared}
    # In the order in which they may stay.
    paths = sorted(where, key=lambda path: (path not in old, -SPLITS.index(where[path]), path))
    thumbnails = np.frombuffer(b"".join(records[path].thumbnail for path in paths), np.uint8)
    numbers = np.array([SPLITS.index(where[path]) for path in paths], np.int64)
    nearly: dict[int, int] = {}
    colours = np.array([records[path].mean_colour for path in paths], np.float64).reshape(-1, 3)
    for stays, goes in near_duplicates.pairs(thumbnails.reshape(-1, *THUMBNAIL), colours, numbers).tolist():
        if stays not in nearly:
            nearly.setdefault(goes, stays)
    return [
        Problem(
            ProblemKind.NEAR_DUPLICATE,
            paths[goes],
            f"in {where[paths[goes]]}, nearly {paths[stays]} in {where[paths[stays]]}",
        )
        for goes, stays in nearly.items()
    ]


def _rows(
    usable: Iterable[Candidate], records: Mapping[str, Record], splits: Mapping[str, str], taken: set[str]
) -> list[Row]:
    rows = []
    for candidate in sorted(usable, key=lambda candidate: candidate.path):
        record = records[candidate.path]
        rows.append(
            {
                "id": _new_id(record.sha256[:ID_DIGITS], taken),
                "path": candidate.path,
                "label": candidate.label,
                "split": splits[candidate.path],
                "width": record.width,
                "height": record.height,
                "mode": record.mode,
                "format": record.format,
                "bytes": record.size,
                "sha256": record.sha256,
                "group": candidate.group,
                "weight": candidate.weight,
                "shard": "",
                "offset": 0,
            }
        )
    return rows


def _new_id(content: str, taken: set[str]) -> str:
    """`content`, or that with the first number behind it that is not taken; takes it."""
    name, number = content, 1
    while name in taken:
        number += 1
        name = f"{content}-{number}"
    taken.add(name)
    return name


def _empty_classes(
    candidates: Iterable[Candidate], class_names: Iterable[str], listed: Iterable[Problem]
) -> list[Problem]:
    told = {problem.path for problem in listed if problem.kind == ProblemKind.EMPTY_CLASS}
    empty = {candidate.label for candidate in candidates} - set(class_names) - told
    return [Problem(ProblemKind.EMPTY_CLASS, label, "none of its files can be used") for label in sorted(empty)]


def _single_classes(rows: Iterable[Row]) -> list[Problem]:
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["split"], set()).add(row["label"])
    return [
        Problem(ProblemKind.SINGLE_CLASS, split, f"all of its pictures are of class {next(iter(names))}")
        for split, names in sorted(labels.items())
        if len(names) == 1
    ]
