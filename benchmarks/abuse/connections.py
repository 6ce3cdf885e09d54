"""Clients that connect and do not behave: idle, slow, gone at once, or half way through a request."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
import time
from collections.abc import Iterator

from benchmarks.abuse.victim import Finding, Victim

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
# SO_LINGER on, zero seconds: close() sends a reset.
RESET = struct.pack("ii", 1, 0)


def raise_file_limit(wanted: int) -> None:
    """Of this process, and so of those that it starts afterwards."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), most))


def idle(victim: Victim) -> Iterator[Finding]:
    """10,000 connections (or a tenth of `victim.requests`), half of them to each port, of which nothing comes."""
    count = min(10_000, max(victim.requests // 10, 100))
    before = victim.rss()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            address = victim.host_and_port if number % 2 else victim.grpc_host_and_port
            try:
                connection = stack.enter_context(socket.create_connection(address, 10))
            except OSError as error:
                yield Finding("idle connections", f"number {number} was refused: {error}")
                return
            if number % 4 == 0:
                connection.sendall(PREFACE)
        time.sleep(2)
        each = (victim.rss() - before) * 1024 / count
        if each > 100:
            yield Finding("idle connections", f"{each:.0f} KiB of memory for each of {count}")


def slow(victim: Victim) -> Iterator[Finding]:
    """Clients that send a byte now and then, of a header or a body, or read nothing of what they asked for."""
    count = min(500, max(victim.requests // 100, 50))
    head = f"POST /v1/models/{victim.model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        connections = []
        for number in range(count):
            address = victim.host_and_port if number % 3 else victim.grpc_host_and_port
            connection = stack.enter_context(socket.create_connection(address, 10))
            connections.append((connection, (PREFACE, head + b"{" * 1000, head)[number % 3]))
        for position in range(min(len(head) - 1, 20 + victim.requests // 1000)):
            for connection, request in connections:
                with contextlib.suppress(OSError):
                    connection.send(request[position : position + 1])
            time.sleep(0.05)
    yield from ()


def deaf(victim: Victim) -> Iterator[Finding]:
    """Clients that ask for much without ever reading the answers."""
    before = victim.rss()
    request = f"GET /v1/models/{victim.model}/metadata HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 200
    with contextlib.ExitStack() as stack:
        for _ in range(min(100, max(victim.requests // 100, 10))):
            connection = stack.enter_context(socket.create_connection(victim.host_and_port, 10))
            connection.settimeout(0.05)
            with contextlib.suppress(OSError):
                for _ in range(20):
                    connection.sendall(request)
        time.sleep(1)
        grown = victim.rss() - before
    if grown > 500:
        yield Finding("deaf clients", f"memory grew by {grown:.0f} MiB")


def churn(victim: Victim) -> Iterator[Finding]:
    """Connections that end at once, in order or by a reset, with nothing or part of a request sent."""
    draw = random.Random(victim.requests)
    request = f"POST /v1/models/{victim.model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345".encode()
    for _ in range(min(victim.requests, 20_000)):
        over_grpc = draw.random() < 0.5
        address = victim.grpc_host_and_port if over_grpc else victim.host_and_port
        content = PREFACE if over_grpc else request
        try:
            with socket.create_connection(address, 10) as connection:
                if draw.random() < 0.5:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.sendall(content[: draw.randrange(len(content) + 1)])
        except ConnectionResetError:
            pass
        except OSError as error:
            yield Finding("churn", f"a connection was refused: {error}")
            return
