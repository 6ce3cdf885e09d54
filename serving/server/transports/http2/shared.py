"""What all connections of a server have in common."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.server.calls import Methods
from serving.server.transports.http2 import frames
from serving.server.transports.http2.frames import Setting
from serving.server.transports.http2.limits import Budget, Limits
from serving.server.transports.http2.outbox import Outbox

if TYPE_CHECKING:
    from serving.server.transports.http2.connection import Connection
    from serving.server.transports.http2.stream import Stream


@dataclass(eq=False)
class Shared:
    """Belongs to the loop's thread."""

    methods: Methods
    limits: Limits
    max_request_bytes: int
    threads: int
    loop: asyncio.AbstractEventLoop
    outbox: Outbox = field(init=False)
    pool: ThreadPoolExecutor = field(init=False)
    budget: Budget = field(init=False)
    connections: set[Connection] = field(default_factory=set)
    is_stopping: bool = False
    greeting: bytes = field(init=False)
    """The first bytes on each connection."""
    unwatched: list[Stream] = field(default_factory=list)
    """Calls whose deadlines are not watched yet."""
    _will_watch: bool = False

    def __post_init__(self) -> None:
        limits = self.limits
        self.outbox = Outbox(self.loop)
        self.pool = ThreadPoolExecutor(self.threads, "grpc")
        self.budget = Budget(limits.held)
        self.greeting = frames.settings(
            {
                Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
                Setting.MAX_FRAME_SIZE: limits.frame,
                Setting.MAX_HEADER_LIST_SIZE: limits.header_list,
            }
        ) + frames.window_update(0, limits.connection_window - frames.DEFAULT_WINDOW)

    def watch_soon(self) -> None:
        """Watches deadlines once what was read has been run: most calls are answered by then, and need no timer."""
        if self.unwatched and not self._will_watch:
            self._will_watch = True
            self.loop.call_soon(self._watch)

    def _watch(self) -> None:
        self._will_watch = False
        streams, self.unwatched = self.unwatched, []
        for stream in streams:
            stream.start_timer()

    @property
    def inflate_limit(self) -> int:
        """Bytes that a message may unpack to, so that all threads together stay within the budget."""
        return min(self.max_request_bytes, self.limits.held // (2 * self.threads))
