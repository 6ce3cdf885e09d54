"""A generator of gRPC requests at given times, whether or not earlier ones are answered.

python -m benchmarks.open_loop ADDRESS PATH BODY even|random RATE SECONDS writes a line for each request: when it was due, in
seconds from the start, and its latency in milliseconds from then on, so that what is sent late is not hidden; nan if it failed.

One connection, and no more of HTTP/2 than a server of ours or of grpcio needs, so that it takes a quarter of a core for 4,000
requests a second; h2load needs a process for each 300.
"""

from __future__ import annotations

import contextlib
import math
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hpack
import numpy as np

from serving.server.transports.http2 import frames

WAIT_SECONDS = 30.0


def due_times(kind: str, rate: float, seconds: float) -> list[float]:
    """Seconds from the start: evenly spaced, or those of a Poisson process."""
    if kind == "even":
        return list(np.arange(1, rate * seconds) / rate)
    draw = random.Random(0)
    times = np.cumsum([draw.expovariate(rate) for _ in range(int(rate * seconds))])
    return list(times)


class Connection:
    """To a server that answers unary calls; windows for answers are as large as they can be."""

    def __init__(self, address: str, path: str, body: bytes) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", address)),
            *(("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "10S")),
        ]
        # Not put into the table that the two sides share, so it is the same each time.
        self._head = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*header) for header in headers])
        self._body = body
        self._unsent = bytearray(frames.PREFACE)
        self._unsent += frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: frames.MAX_INTEGER})
        self._unsent += frames.window_update(0, frames.MAX_INTEGER - frames.DEFAULT_WINDOW)
        self._unread = b""
        self._window = frames.DEFAULT_WINDOW
        self._number = 1
        self._with_message: set[int] = set()
        self._socket.setblocking(False)

    def request(self) -> int | None:
        """Sends one, whose stream's number is given; None while the server takes no more bytes."""
        if self._window < len(self._body):
            return None
        self._window -= len(self._body)
        number, self._number = self._number, self._number + 2
        self._unsent += frames.pack(frames.HEADERS, frames.END_HEADERS, number, self._head)
        for start in range(0, len(self._body), frames.DEFAULT_FRAME_SIZE):
            stop = start + frames.DEFAULT_FRAME_SIZE
            flags = frames.END_STREAM if stop >= len(self._body) else 0
            self._unsent += frames.pack(frames.DATA, flags, number, self._body[start:stop])
        self._send()
        return number

    def answered(self, seconds: float) -> Iterator[tuple[int, bool]]:
        """Waits for the server, so long at most; the streams that have ended, and whether with a message (not an error).

        Raises ConnectionError.
        """
        self._send()
        readable, _, _ = select.select([self._socket], [self._socket] if self._unsent else [], [], seconds)
        if not readable:
            return
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._unread += data
        start = 0
        while len(self._unread) - start >= frames.HEADER.size:
            packed, flags, number = frames.HEADER.unpack_from(self._unread, start)
            stop = start + frames.HEADER.size + (packed >> 8)
            if stop > len(self._unread):
                break
            kind, payload = packed & 0xFF, self._unread[start + frames.HEADER.size : stop]
            start = stop
            if kind == frames.WINDOW_UPDATE and number == 0:
                self._window += int.from_bytes(payload, "big")
            elif kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
                self._unsent += frames.pack(kind, frames.ACK, 0, payload if kind == frames.PING else b"")
            elif kind in (frames.RST_STREAM, frames.GOAWAY):
                raise ConnectionError("the server refused a request")
            elif kind == frames.DATA:
                self._with_message.add(number)
            if kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                yield number, number in self._with_message
                self._with_message.discard(number)
        self._unread = self._unread[start:]

    def _send(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self._socket.send(self._unsent)]


def answers(connection: Connection, due: list[float]) -> list[tuple[float, float]]:
    """When each request was due, and the seconds from then until it was answered; NaN if it failed. Raises ConnectionError."""
    waiting: dict[int, float] = {}
    found = []
    begin = time.perf_counter()
    sent = 0
    while len(found) < len(due):
        now = time.perf_counter() - begin
        while sent < len(due) and due[sent] <= now and (number := connection.request()) is not None:
            waiting[number] = due[sent]
            sent += 1
        pause = max(due[sent] - (time.perf_counter() - begin), 0.0) if sent < len(due) else WAIT_SECONDS
        for number, is_good in connection.answered(pause):
            since = waiting.pop(number)
            found.append((since, time.perf_counter() - begin - since if is_good else math.nan))
        if now > due[-1] + WAIT_SECONDS:
            raise ConnectionError(f"{len(waiting)} requests were not answered")
    return found


def main() -> None:
    address, path, body, kind, rate, seconds = sys.argv[1:]
    connection = Connection(address, path, Path(body).read_bytes())
    for since, latency in answers(connection, due_times(kind, float(rate), float(seconds))):
        print(f"{since:.6f} {latency * 1000:.3f}")


if __name__ == "__main__":
    main()
