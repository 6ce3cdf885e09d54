"""Which split a picture belongs to: decided by its content, so that it stays there whatever else is added."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.manifest import SPLITS


class Member(NamedTuple):
    """A picture as far as its split depends on it."""

    unit: str
    """What stays together: the name of its group, or else the SHA-256 of its content."""
    label: str
    split: str | None = None
    """Already known, or None."""


def position(unit: str) -> float:
    """The first 64 bits of the unit's SHA-256 as a number from 0 to below 1."""
    return int.from_bytes(hashlib.sha256(unit.encode()).digest()[:8], "big") / 2**64


def by_share(unit: str, shares: Mapping[str, float]) -> str:
    """The split on whose stretch of [0, 1) the unit lies: first train's, then validation's, then test's."""
    place, end = position(unit), 0.0
    names = [name for name in SPLITS if shares.get(name)]
    for name in names:
        end += shares[name]
        if place < end:
            return name
    return names[-1]


def assign(members: Sequence[Member], shares: Mapping[str, float], *, stratify: bool = False) -> list[str]:
    """The split of each: its own if it has one, else that of its unit, else chosen.

    stratify: each class for itself is brought as near to `shares` as whole units allow, counting what already has a
    split. A class with fewer than 1 / (2 * share) pictures or so has none in a split of a small share.
    """
    units = _units(members)
    if stratify:
        chosen = {**units, **_stratified(members, units, shares)}
    else:
        chosen = {unit: split or by_share(unit, shares) for unit, split in units.items()}
    return [member.split or chosen[member.unit] or "" for member in members]


def require_whole_groups(members: Iterable[Member]) -> None:
    """Raises UsageError if what must stay together was put into several splits."""
    splits: dict[str, str] = {}
    for member in members:
        if member.split and splits.setdefault(member.unit, member.split) != member.split:
            raise UsageError(
                f"The group {member.unit!r} is put both in {splits[member.unit]} and in {member.split}. "
                "Expected all of a group in one split. Correct the splits, or leave them out."
            )


def _units(members: Iterable[Member]) -> dict[str, str | None]:
    """Unit -> split that a member of it has."""
    units: dict[str, str | None] = {}
    for member in members:
        units[member.unit] = units.get(member.unit) or member.split
    return units


def _stratified(
    members: Sequence[Member], units: Mapping[str, str | None], shares: Mapping[str, float]
) -> dict[str, str]:
    """Unit -> split for units without: each goes to the split that its class is furthest from filling."""
    labels: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for member in members:
        labels[member.unit][member.label] += 1
    total: collections.Counter[str] = sum(labels.values(), collections.Counter())
    have: collections.Counter[tuple[str, str]] = collections.Counter()
    chosen: dict[str, str] = {}
    names = [name for name in SPLITS if shares.get(name)]
    for unit in sorted(labels, key=lambda unit: (units[unit] is None, position(unit))):
        label = max(sorted(labels[unit]), key=labels[unit].__getitem__)
        lacks = [shares[name] * total[label] - have[name, label] for name in names]
        # Of equally empty splits the last, test: without it nothing is known of a class.
        split = units[unit] or max(zip(lacks, range(len(names)), names, strict=True))[2]
        chosen[unit] = split
        for each, count in labels[unit].items():
            have[split, each] += count
    return chosen
