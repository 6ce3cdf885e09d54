"""Waits after a joint run for those who were answered: callers often ask again as soon as they have an answer.

Without it the callers of a model with one thread part into two groups for ever, of which one waits while the other is
answered, and every run is half as large as it could be.
"""

from __future__ import annotations

import sys
import threading

# Of the time that the run took. A request that was not in it may wait so long; in a run twice as large it gains more.
SHARE = 0.05
MOST_SECONDS = 0.1


class Gathering:
    """How many requests the only thread waits for. All but `wait` are called with the batcher's lock held."""

    def __init__(self) -> None:
        self._wanted = sys.maxsize
        self._reached = threading.Event()

    def begin(self, wanted: int) -> None:
        """From now on `wanted` waiting requests are enough."""
        self._reached.clear()
        self._wanted = wanted

    def look(self, waiting: int) -> None:
        """Ends it if enough wait."""
        if waiting >= self._wanted:
            self.end()

    def end(self) -> None:
        """Lets the thread go on."""
        self._wanted = sys.maxsize
        self._reached.set()

    def wait(self, seconds: float) -> None:
        """Returns at its end, or after SHARE of the `seconds` that a run took, MOST_SECONDS at most."""
        self._reached.wait(min(SHARE * seconds, MOST_SECONDS))
