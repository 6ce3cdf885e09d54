"""A loaded version, and lending it to requests: cheap for each of them, and never closed under one."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.server.servable import Servable


class Loaded:
    """A servable that requests may borrow until it is retired."""

    __slots__ = ("_lock", "_retired", "_unused", "_users", "name", "servable", "version")

    def __init__(self, name: str, version: int, servable: Servable) -> None:
        self.name = name
        self.version = version
        self.servable = servable
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False
        self._unused = threading.Event()

    @property
    def is_lent(self) -> bool:
        """Whether a request uses the servable."""
        return self._users > 0

    def borrow(self) -> Lent | None:
        """Lends the servable to one request; None once it is retired."""
        with self._lock:
            if self._retired:
                return None
            self._users += 1
        return Lent(self)

    def retire(self) -> None:
        """Lends to no more requests; returns once those that borrowed it have finished."""
        with self._lock:
            self._retired = True
            if not self._users:
                self._unused.set()
        self._unused.wait()

    def _take_back(self, lent: Lent) -> None:
        with self._lock:
            if lent._loaded is None:
                return
            lent._loaded = None
            self._users -= 1
            if self._retired and not self._users:
                self._unused.set()


class Lent:
    """A servable that will not be closed until it is released; a `with` block releases it too."""

    __slots__ = ("_loaded", "name", "servable", "version")

    def __init__(self, loaded: Loaded) -> None:
        self._loaded: Loaded | None = loaded
        self.name = loaded.name
        self.version = loaded.version
        self.servable = loaded.servable

    def release(self) -> None:
        """Gives the servable back; may be called again, and from any thread."""
        if (loaded := self._loaded) is not None:
            loaded._take_back(self)

    def __enter__(self) -> Lent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
