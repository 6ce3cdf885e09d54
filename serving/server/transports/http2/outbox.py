"""Answers on their way from the threads that made them to the loop that sends them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_log = logging.getLogger(__name__)


class Flushable(Protocol):
    """Has bytes to write."""

    def flush(self) -> None:
        """Writes them."""


class Outbox:
    """Wakes the loop once for all answers that came since it last looked, and writes once a connection for all of them.

    Waking a loop costs a system call and a thread switch: more than all the rest that an answer needs.
    """

    __slots__ = ("_awake", "_items", "_loop", "dirty")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._awake = False
        self.dirty: list[Flushable] = []
        """Who has bytes to write; only the loop's thread appends."""

    def put(self, action: Callable[[Any], None], argument: Any) -> None:
        """Runs `action(argument)` soon, in the loop; from any thread."""
        self._items.append((action, argument))
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:  # the loop is closed: the server has stopped, and nobody waits
                self._items.clear()

    def soon(self, action: Callable[[], None]) -> None:
        """Runs `action` in the loop, whose thread calls this, once it has read what all connections have sent."""
        self._loop.call_soon(self._act, action)

    def _act(self, action: Callable[[], None]) -> None:
        self.hold()
        try:
            action()
        except Exception:
            _log.exception("Requests could not be run")
        finally:
            self.deliver()

    def hold(self) -> None:
        """The loop is about to deliver anyway: no need to wake it."""
        self._awake = True

    def deliver(self) -> None:
        """Runs all that was put, then writes; in the loop's thread."""
        self._awake = False  # before looking: what is put from here on wakes the loop again
        items = self._items
        while items:
            action, argument = items.popleft()
            try:
                action(argument)
            except Exception:
                _log.exception("An answer could not be sent")
        while self.dirty:
            self.dirty.pop().flush()
