"""The same on asyncio's own loop, where uvloop is missing."""

from __future__ import annotations

import asyncio
import os

import pytest
from http2_support import channel, running

from serving.server.transports.http2 import server as server_module


@pytest.fixture
def connected(monkeypatch):
    monkeypatch.setattr(server_module, "_new_loop", asyncio.new_event_loop)
    with running() as server, channel(server.address) as made:
        assert isinstance(server.transport._loop, asyncio.BaseEventLoop)
        yield made


@pytest.mark.parametrize("size", [0, 3000, 5_000_000])
def test_calls_are_answered(connected, size):
    data = os.urandom(size)
    assert connected.unary_unary("/test.S/Echo")(data, timeout=30) == data


def test_answers_come_from_other_threads(connected):
    futures = [connected.unary_unary("/test.S/Later").future(b"%d" % number, timeout=30) for number in range(100)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(100)]


def test_streams_work(connected):
    assert len(list(connected.unary_stream("/test.S/Count")(b"1000", timeout=20))) == 1000
