"""What a source of pictures is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pipelines.problems import Problem, ProblemKind

# Names of splits as people write them, in lower case -> ours.
SPLITS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

# A published benchmark keeps its pictures as they are: results on a changed one could not be compared.
PUBLISHED = frozenset({ProblemKind.DUPLICATE, ProblemKind.NEAR_DUPLICATE, ProblemKind.LABEL_CONFLICT})


@dataclass(frozen=True)
class Candidate:
    """A picture that a source offers, before anybody looked into it."""

    path: str
    """Unique and stable within the source, '/'-separated; for files: relative to the root."""
    label: str
    """Class name."""
    split: str | None = None
    """"train", "validation", "test", or None: to be chosen."""
    group: str = ""
    """What must not be divided between splits, such as a patient or a session; "" for none."""
    weight: float = 1.0
    """What it counts in the loss."""
    stamp: str = ""
    """Changes when the file does: its size and time of modification; "" if unknown."""


Listing: TypeAlias = tuple[list[Candidate], list[Problem]]
"""All candidates, sorted by path, and what was wrong already while they were listed."""


class Source(Protocol):
    """Where pictures come from."""

    @property
    def name(self) -> str:
        """Name of the data set, unless the user gives another."""

    @property
    def root(self) -> str:
        """Absolute folder or URL that paths of candidates are relative to; "" if the pictures are not files."""

    @property
    def kept(self) -> frozenset[str]:
        """Kinds of problem whose pictures belong to it all the same."""

    @property
    def class_names(self) -> Sequence[str]:
        """In the order that they are to have, if the source has one."""

    def list(self) -> Listing:
        """All candidates, sorted by path, and what was wrong already while they were listed."""

    def read(self, path: str) -> bytes:
        """The encoded picture of the candidate with this path. Called from several threads. Raises OSError."""
