"""What one client, and all together, may cost the server."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def _memory_bytes() -> int:
    """Of the machine, or of the container if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(memory, int(text)) if text.isdigit() else memory


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    streams: int = 1000
    """Calls under way on a connection. More than any batch takes, so it holds nobody up: clients queue what is above.
    Few enough that one connection with requests of 64 KB holds no more than 64 MB, which the budget does not count."""
    header_list: int = 16 * 1024
    """Headers of a request; above it gets RESOURCE_EXHAUSTED."""
    header_block: int = 64 * 1024
    """Headers, packed or unpacked, above which the connection ends: what cannot be read cannot be skipped either."""
    continuations: int = 16
    """Frames that one header block may be split into."""
    frame: int = 1024 * 1024
    """Large, so that a big tensor comes in few pieces; DATA is taken as it arrives, so it costs no memory."""
    stream_window: int = 4 * 1024 * 1024
    connection_window: int = 16 * 1024 * 1024
    held: int = field(default_factory=lambda: _memory_bytes() // 2)
    """Requests of more than one frame, from their first byte to the answer, of all clients."""
    held_share: float = 0.75
    """How much of `held` one connection may have."""
    unsent: int = 32 * 1024 * 1024
    """Answers that a client does not take, above which its next requests wait."""
    unsent_stream: int = 4 * 1024 * 1024
    """The same for one stream of many messages, above which it ends."""
    write_buffer: int = 1024 * 1024
    """Bytes for the socket, above which nothing more is read from this client."""
    control_burst: int = 10_000
    control_rate: float = 1000.0
    """Frames without use (PING, SETTINGS, PRIORITY, empty or late DATA, ...) at once and per second. gRPC's clients send
    a PING with much of what they receive, to measure the line."""
    reset_burst: int = 500
    reset_rate: float = 50.0
    """Calls that the client gave up before it had waited for an answer, at once and per second; an answered call makes up for
    one."""
    preface_seconds: float = 10.0
    """For TLS and for HTTP/2's first frames."""
    stall_seconds: float = 120.0
    """Without a byte of a request that is half here, or with answers waiting and none of them taken."""
    linger_seconds: float = 1.0
    """For a client to hang up, or to answer a ping, when the server wants to close."""
    age_seconds: float = float("inf")
    age_grace_seconds: float = float("inf")
    """After `age_seconds` a connection takes no new calls, and those under way have this long."""
    idle_seconds: float = float("inf")
    """Without a call, after which a connection is closed."""
    sweep_seconds: float = 1.0
    """How often the times above are looked at."""


@dataclass(frozen=True)
class ChannelSettings:
    """What gRPC's channel arguments say that matters here."""

    limits: Limits
    max_request_bytes: int
    reuse_port: bool


_MILLISECONDS = {
    "grpc.max_connection_age_ms": "age_seconds",
    "grpc.max_connection_age_grace_ms": "age_grace_seconds",
    "grpc.max_connection_idle_ms": "idle_seconds",
}
_COUNTS = {"grpc.max_concurrent_streams": "streams", "grpc.max_metadata_size": "header_list"}


def from_arguments(
    limits: Limits, max_request_bytes: int, arguments: Sequence[tuple[str, int | str]]
) -> ChannelSettings:
    """Applies channel arguments; warns of those that mean nothing here."""
    reuse_port = False
    for name, value in arguments:
        if not isinstance(value, int):
            _log.warning("Channel argument %s=%s is ignored: it is not known, or not a number", name, value)
        elif name == "grpc.so_reuseport":
            reuse_port = bool(value)
        elif name == "grpc.max_receive_message_length":
            max_request_bytes = value if value >= 0 else max_request_bytes
        elif name in _MILLISECONDS:
            limits = _with(limits, _MILLISECONDS[name], value / 1000)
        elif name in _COUNTS:
            limits = _with(limits, _COUNTS[name], value)
        else:
            _log.warning("Channel argument %s=%s is ignored: this server has no such setting", name, value)
    return ChannelSettings(limits, max_request_bytes, reuse_port)


def _with(limits: Limits, name: str, value: Any) -> Limits:
    return replace(limits, **{name: value})


class Patience:
    """Counts what a client does without use; forgets some of it each second."""

    __slots__ = ("_burst", "_rate", "_since", "count")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self.count = 0.0
        """Of what was done so far, less what is forgotten."""
        self._since = time.monotonic()

    def spend(self, cost: int = 1) -> bool:
        """Counts it; False if that was too much."""
        self.count += cost
        if self.count <= self._burst:
            return True
        now = time.monotonic()
        self.count = max(self.count - (now - self._since) * self._rate, cost)
        self._since = now
        return self.count <= self._burst

    def earn(self) -> None:
        """The client did something useful."""
        self.count = max(self.count - 1, 0.0)


class Budget:
    """Bytes held of requests; safe to use from several threads. `parent` is the budget of all clients."""

    __slots__ = ("_limit", "_lock", "_parent", "held")

    def __init__(self, limit: float, parent: Budget | None = None) -> None:
        self._limit = limit
        self._parent = parent
        self._lock: threading.RLock = parent._lock if parent else threading.RLock()
        self.held = 0

    def take(self, count: int) -> bool:
        """Takes `count` bytes; False, and none taken, if they are not there."""
        with self._lock:
            if self.held + count > self._limit or (self._parent is not None and not self._parent.take(count)):
                return False
            self.held += count
            return True

    def give_back(self, count: int) -> None:
        """Returns what was taken."""
        with self._lock:
            self.held -= count
            if self._parent is not None:
                self._parent.give_back(count)
