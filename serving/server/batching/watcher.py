"""One thread of the process that looks after all batchers from time to time."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Watcher:
    """Calls functions every so many `seconds`, in a thread that exists while there are any. They must not block."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._checks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._watching: threading.Thread | None = None
        self._stop = threading.Event()

    def add(self, check: Callable[[], None]) -> None:
        """Calls `check` from now on."""
        with self._lock:
            self._checks.append(check)
            if self._watching is None:
                self._stop = threading.Event()
                self._watching = threading.Thread(
                    target=self._watch, args=(self._stop,), name="batching-watcher", daemon=True
                )
                self._watching.start()

    def remove(self, check: Callable[[], None]) -> None:
        """Calls it no more."""
        with self._lock:
            self._checks.remove(check)
            if self._checks or self._watching is None:
                return
            thread, self._watching = self._watching, None
            self._stop.set()
        thread.join()

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(self._seconds):
            for check in list(self._checks):
                check()
