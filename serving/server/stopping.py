"""The wish that the server stop, which comes as a signal at any moment."""

from __future__ import annotations

import queue
import signal


class StopRequest:
    """Made by SIGTERM and Ctrl-C from now on; for the main thread.

    No threading.Event: a handler runs between any two steps of the main thread, so also while that holds the event's lock to
    begin its wait; it would wait for that lock for ever. A SimpleQueue may be put to from within its own methods.
    """

    def __init__(self) -> None:
        self._made: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._make)

    def is_made(self) -> bool:
        """Whether there is something to stop for."""
        return not self._made.empty()

    def wait(self) -> None:
        """Until it is made; once."""
        self._made.get()

    def _make(self, number: int, frame: object) -> None:
        # A second Ctrl-C ends at once, even while TensorFlow does something that knows no signals.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._made.put(number)
