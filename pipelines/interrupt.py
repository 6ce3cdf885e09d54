"""Ctrl-C and SIGTERM as a wish that long work asks for where it can stop.

An exception that strikes anywhere may strike inside TensorFlow or a lock; one in some tries, a training then hung.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether the process was asked to stop since the block began.

    A second Ctrl-C interrupts at once. Outside of the main thread, where Python allows no handlers, nothing is changed.
    """
    asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)
