"""The wish that the server stop, which comes as a signal at any moment."""

from __future__ import annotations

import os
import signal


class StopRequest:
    """Made by SIGTERM and Ctrl-C from now on; for the main thread.

    The wait is for a byte that C code writes when a signal comes. Python's own handlers run between two steps of the main
    thread only: one that comes when that is about to wait for a lock or a queue, in C already, would be noticed when the wait
    ends, so never.
    """

    def __init__(self) -> None:
        self._is_made = False
        self._told, telling = os.pipe()
        os.set_blocking(telling, False)
        signal.set_wakeup_fd(telling)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._make)

    def is_made(self) -> bool:
        """Whether there is something to stop for."""
        return self._is_made

    def wait(self) -> None:
        """Until it is made; once."""
        os.read(self._told, 1)

    def _make(self, number: int, frame: object) -> None:
        # A second Ctrl-C ends at once, even while TensorFlow does something that knows no signals.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._is_made = True
