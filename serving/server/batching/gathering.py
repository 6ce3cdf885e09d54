"""Waits after a joint run for those who were answered: callers often ask again as soon as they have an answer.

Without it the callers of a model with one thread part into two groups for ever, of which one waits while the other is
answered, and every run is half as large as it could be.
"""

from __future__ import annotations

import threading

from serving.server.batching.waiting import Waiting

# Of the time that the run took. A request that was not in it may wait so long; in a run twice as large it gains more.
SHARE = 0.05
MOST_SECONDS = 0.1


class Gathering:
    """How many requests the only thread waits for. All but `wait` are called with the batcher's lock held."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._wanted: int | None = None
        self._is_over = threading.Event()
        self._is_over.set()

    def begin(self, answered: int) -> None:
        """From now on as many requests more are enough as are `answered` next, or a full run."""
        self._is_over.clear()
        self._wanted = self._waiting.requests + answered
        self.look()

    def look(self) -> None:
        """Ends it if enough wait."""
        if self._wanted is not None and (self._waiting.requests >= self._wanted or self._waiting.is_full):
            self.end()

    def end(self) -> None:
        """Lets the thread go on."""
        self._wanted = None
        self._is_over.set()

    def wait(self, seconds: float) -> None:
        """Returns at its end, or after SHARE of the `seconds` that a run took, MOST_SECONDS at most."""
        self._is_over.wait(min(SHARE * seconds, MOST_SECONDS))
