"""Which of the versions on disk are served."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


class VersionPolicy(Protocol):
    """Chooses by number alone, whether a version can be loaded or not."""

    def wanted(self, numbers: Collection[int]) -> set[int]:
        """Version numbers on disk -> those to serve."""

    def absent(self, numbers: Collection[int]) -> set[int]:
        """Version numbers that were asked for and are not on disk."""


@dataclass(frozen=True)
class Latest:
    """The highest `num_versions` numbers; 0 means 1."""

    num_versions: int = 1

    def wanted(self, numbers: Collection[int]) -> set[int]:
        """Version numbers on disk -> those to serve."""
        return set(sorted(numbers)[-max(self.num_versions, 1) :])

    def absent(self, numbers: Collection[int]) -> set[int]:
        """None: whatever is there is right."""
        return set()


@dataclass(frozen=True)
class All:
    """Every version."""

    def wanted(self, numbers: Collection[int]) -> set[int]:
        """Version numbers on disk -> those to serve."""
        return set(numbers)

    def absent(self, numbers: Collection[int]) -> set[int]:
        """None: whatever is there is right."""
        return set()


@dataclass(frozen=True)
class Specific:
    """Those of `versions` that exist."""

    versions: frozenset[int]

    def wanted(self, numbers: Collection[int]) -> set[int]:
        """Version numbers on disk -> those to serve."""
        return set(self.versions & set(numbers))

    def absent(self, numbers: Collection[int]) -> set[int]:
        """Version numbers that were asked for and are not on disk."""
        return set(self.versions) - set(numbers)
