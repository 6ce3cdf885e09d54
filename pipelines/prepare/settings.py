"""What a person may choose when a data set is prepared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.errors import UsageError
from pipelines.manifest import SPLITS
from pipelines.problems import ProblemKind

# Above so many Pillow refuses a picture: twice its MAX_IMAGE_PIXELS.
MAX_PIXELS = 178_956_970

# What a picture may have and still be used.
KEEPABLE = frozenset(
    {ProblemKind.WRONG_EXTENSION, ProblemKind.DUPLICATE, ProblemKind.LABEL_CONFLICT, ProblemKind.NEAR_DUPLICATE}
)


@dataclass(frozen=True)
class Settings:
    """Raises UsageError for values that cannot be."""

    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1})
    """Split -> share of the pictures that the source puts in no split; together 1."""
    stratify: bool = False
    """Bring each class for itself to these shares, not only the whole."""
    on_error: Literal["fail", "skip"] = "fail"
    """fail: publish nothing if more than max_errors of the files have problems. skip: leave them out, however many."""
    max_errors: float = 0.01
    """Share of the files, 0..1."""
    keep: frozenset[str] = frozenset()
    """ProblemKinds whose pictures are used all the same; one of KEEPABLE."""
    max_pixels: int = MAX_PIXELS
    """A picture that announces more is not decoded."""
    sharded: bool = True
    """Copy the pictures into shards; False: they are read from where they are."""
    shards: int | None = None
    """Files a split; None: as many as make about 150 MB each."""

    def __post_init__(self) -> None:
        _require(
            set(self.shares) <= set(SPLITS),
            "The shares of splits",
            f"splits among {', '.join(SPLITS)}",
            dict(self.shares),
        )
        _require(
            all(share >= 0 for share in self.shares.values()) and math.isclose(sum(self.shares.values()), 1),
            "The shares of splits",
            "values from 0 that are 1 together, such as 0.8, 0.1 and 0.1",
            dict(self.shares),
        )
        _require(self.on_error in ("fail", "skip"), "on_error", "fail or skip", self.on_error)
        _require(0 <= self.max_errors <= 1, "max_errors", "a share from 0 to 1", self.max_errors)
        _require(self.keep <= KEEPABLE, "keep", f"kinds among {', '.join(sorted(KEEPABLE))}", sorted(self.keep))
        _require(self.max_pixels >= 1, "max_pixels", "1 or more", self.max_pixels)
        _require(self.shards is None or self.shards >= 1, "shards", "1 or more", self.shards)

    def lasting(self) -> dict[str, Any]:
        """What all pictures of one data set must have in common, as JSON has it."""
        return {
            "shares": {name: self.shares[name] for name in SPLITS if self.shares.get(name)},
            "stratify": self.stratify,
            "keep": sorted(self.keep),
            "max_pixels": self.max_pixels,
            "sharded": self.sharded,
        }


def _require(holds: bool, name: str, expected: str, received: Any) -> None:
    if not holds:
        raise UsageError(f"{name} must be {expected}. Received: {received}.")
