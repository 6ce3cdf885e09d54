"""What is counted for each version of each model, and goes on counting in sums when the version is served no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar, cast

ENDED = -1
"""The version of what was counted for all versions that are served no more."""

MAX_RETIRED = 64


class Addable(Protocol):
    """Something counted."""

    def add(self, other: Any) -> None:
        """Counts what the other has counted."""


Cell = TypeVar("Cell", bound=Addable)
Key = TypeVar("Key", bound="tuple[Hashable, ...]")


class ByVersion(Generic[Key, Cell]):
    """A cell for each key, whose first two items are model and version. No count is ever lost."""

    def __init__(self, new: Callable[[], Cell]) -> None:
        self._new = new
        self._live: dict[Key, Cell] = {}
        # Another thread may just have found one of these in `_live`, so they are merged only later.
        self._retired: deque[tuple[Key, Cell]] = deque()
        self._ended: dict[Key, Cell] = {}
        self._lock = threading.Lock()
        self.get = cast("Callable[[tuple[Hashable, ...]], Cell | None]", self._live.get)
        """The cell of a key, or None. A plain tuple does, which is made in a third of a named one's time."""

    def at(self, key: Key) -> Cell:
        """The cell of a key, which is made if there is none."""
        with self._lock:
            return self._live.setdefault(key, self._new())

    def forget(self, model: str, version: int, ended: Callable[[Key], Key]) -> None:
        """Moves what was counted for a version to the keys that `ended` makes of its own, whose version is ENDED."""
        with self._lock:
            for key in [key for key in self._live if key[:2] == (model, version)]:
                self._retired.append((ended(key), self._live.pop(key)))
            while len(self._retired) > MAX_RETIRED:
                key, cell = self._retired.popleft()
                self._ended.setdefault(key, self._new()).add(cell)

    def items(self) -> list[tuple[Key, Cell]]:
        """All that was counted; a key whose version is ENDED may come more than once."""
        with self._lock:
            return [*self._live.items(), *self._retired, *self._ended.items()]
