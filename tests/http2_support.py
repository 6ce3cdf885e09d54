"""A server for tests of the HTTP/2 transport, and a client that speaks in frames of its own making."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import hpack

from serving import errors
from serving.server import calls
from serving.server.transports import Options
from serving.server.transports.http2 import Http2Transport, frames
from serving.server.transports.http2.limits import Limits

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass
class Services:
    """Methods that show what a transport hands over."""

    calls: list[calls.Call] = field(default_factory=list)
    held: list[tuple[bytes, calls.Reply]] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    def echo(self, request: bytes, call: calls.Call, reply: calls.Reply) -> None:
        self.threads.append(threading.current_thread().name)
        self.calls.append(call)
        reply(request)

    def hold(self, request: bytes, call: calls.Call, reply: calls.Reply) -> None:
        self.calls.append(call)
        self.held.append((request, reply))

    def fail(self, request: bytes, call: calls.Call, reply: calls.Reply) -> None:
        if not request:
            raise ValueError("a bug")
        raise errors.from_number(request[0], request[1:].decode())

    def later(self, request: bytes, call: calls.Call, reply: calls.Reply) -> None:
        threading.Timer(0.02, reply, [request]).start()

    def size(self, request: bytes, call: calls.Call, reply: calls.Reply) -> None:
        reply(bytes(int(request)))

    def open_echo(self, call: calls.Call, outgoing: calls.Outgoing) -> calls.Incoming:
        self.calls.append(call)
        return Echoing(outgoing)

    def open_count(self, call: calls.Call, outgoing: calls.Outgoing) -> calls.Incoming:
        self.calls.append(call)
        return Counting(outgoing)

    def methods(self) -> calls.Methods:
        return calls.by_path(
            [
                calls.Unary("/test.S/Echo", self.echo),
                calls.Unary("/test.S/Blocking", self.echo, blocking=True),
                calls.Unary("/test.S/Hold", self.hold),
                calls.Unary("/test.S/Fail", self.fail),
                calls.Unary("/test.S/Later", self.later),
                calls.Unary("/test.S/Size", self.size),
                calls.Streaming("/test.S/Chat", self.open_echo),
                calls.Streaming("/test.S/Count", self.open_count),
            ]
        )


@dataclass
class Echoing:
    """Sends back each message; "fail" ends with an error, "bug" raises."""

    outgoing: calls.Outgoing

    def received(self, message: bytes) -> None:
        if message == b"fail":
            raise errors.NotFound("nothing here")
        if message == b"bug":
            raise ValueError("a bug")
        self.outgoing.send(message)

    def half_closed(self) -> None:
        self.outgoing.close()


@dataclass
class Counting:
    """Counts up to the number in the request, from a thread; a number below 0 never ends."""

    outgoing: calls.Outgoing

    def received(self, message: bytes) -> None:
        limit = int(message)
        threading.Thread(target=self.count, args=(limit,)).start()

    def count(self, limit: int) -> None:
        for number in range(max(limit, 1)):
            self.outgoing.send(str(number).encode())
        if limit >= 0:
            self.outgoing.close()

    def half_closed(self) -> None:
        pass


@dataclass
class Server:
    transport: Http2Transport
    services: Services

    @property
    def address(self) -> str:
        return self.transport.addresses[0]

    @property
    def place(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def client(self, **settings: object) -> Frames:
        return Frames(self.place, **settings)


@contextmanager
def running(
    options: Options | None = None, *, addresses: tuple[str, ...] = ("127.0.0.1:0",), **limits: float
) -> Iterator[Server]:
    services = Services()
    transport = Http2Transport(services.methods(), addresses, options or Options(), Limits(**limits))
    transport.start()
    try:
        yield Server(transport, services)
    finally:
        transport.stop(0)


def channel(address: str, *options: tuple[str, object]) -> grpc.Channel:
    return grpc.insecure_channel(address, options=(*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), *options))


def answers(address: str, text: bytes = b"still there") -> bool:
    """Whether a good client gets the right answer."""
    with channel(address) as connected:
        return connected.unary_unary("/test.S/Echo")(text, timeout=20) == text


def message(text: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(text)) + text


class Frames:
    """A client that sends whatever it is told to."""

    def __init__(self, place: tuple[str, int], *, greet: bool = True, settings: dict[int, int] | None = None) -> None:
        self.socket = socket.create_connection(place, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = b""
        self.seen: list[tuple[int, int, int, bytes]] = []
        if greet:
            self.send(frames.PREFACE + frames.settings(settings or {}))

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def headers(self, path: str = "/test.S/Echo", *extra: tuple[str, str]) -> bytes:
        """A header block."""
        return self.encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "test"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                *extra,
            ]
        )

    def open(self, number: int, path: str = "/test.S/Echo", *extra: tuple[str, str], flags: int = 0x4) -> None:
        self.send(frames.pack(frames.HEADERS, flags, number, self.headers(path, *extra)))

    def data(self, number: int, data: bytes, *, end: bool = True) -> None:
        self.send(frames.pack(frames.DATA, int(end), number, data))

    def call(self, number: int, text: bytes = b"hello", path: str = "/test.S/Echo") -> None:
        self.open(number, path)
        self.data(number, message(text))

    def frame(self) -> tuple[int, int, int, bytes] | None:
        """Type, flags, stream, payload; None once the server has hung up."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + (int.from_bytes(self.buffer[:3], "big")):
            try:
                more = self.socket.recv(2**18)
            except ConnectionError:
                return None
            if not more:
                return None
            self.buffer += more
        word, flags, number = frames.HEADER.unpack_from(self.buffer)
        payload = self.buffer[9 : 9 + (word >> 8)]
        self.buffer = self.buffer[9 + (word >> 8) :]
        self.seen.append((word & 255, flags, number, payload))
        return self.seen[-1]

    def until(self, kind: int, number: int | None = None) -> tuple[int, int, int, bytes]:
        """The next frame of a type."""
        end = time.monotonic() + 20
        while (frame := self.frame()) is not None:
            if frame[0] == kind and number in (None, frame[2]):
                return frame
            if time.monotonic() > end:
                break
        raise AssertionError(f"no frame {kind} came, but {[frame[:3] for frame in self.seen]}")

    def answer(self, number: int) -> tuple[dict[str, str], bytes]:
        """All headers, and the body, of one stream."""
        fields: dict[str, str] = {}
        body = b""
        while (frame := self.frame()) is not None:
            kind, flags, stream, payload = frame
            if kind == frames.HEADERS:
                decoded = dict(self.decoder.decode(payload))
            if stream == number and kind == frames.HEADERS:
                fields.update(decoded)
            elif stream == number and kind == frames.DATA:
                body += payload
            elif stream == number and kind == frames.RST_STREAM:
                raise AssertionError(f"reset with {frames.Code(int.from_bytes(payload, 'big')).name}")
            elif kind == frames.GOAWAY:
                raise AssertionError(f"GOAWAY {payload!r}")
            if stream == number and flags & frames.END_STREAM and kind in (frames.HEADERS, frames.DATA):
                return fields, body
        raise AssertionError("hung up")

    def goodbye(self) -> frames.Code:
        """Why the server hangs up; fails unless it does."""
        payload = self.until(frames.GOAWAY)[3]
        while self.frame() is not None:
            pass
        return frames.Code(int.from_bytes(payload[4:8], "big"))

    def reset_code(self, number: int) -> frames.Code:
        """Why the server resets a stream."""
        return frames.Code(int.from_bytes(self.until(frames.RST_STREAM, number)[3], "big"))
