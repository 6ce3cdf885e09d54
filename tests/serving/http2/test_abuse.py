"""Clients that mean harm, or are broken: each is stopped, and costs the others nothing."""

from __future__ import annotations

import gzip
import resource
import socket
import struct
import threading

import grpc
import psutil
import pytest
from http2_support import Frames, answers, channel, message, running
from support import until

from serving.server.transports import Options
from serving.server.transports.http2 import frames, stream
from serving.server.transports.http2.frames import Code, Setting


@pytest.fixture(scope="module")
def server():
    with running() as started:
        yield started


def flood(raw: Frames, piece: bytes, times: int) -> None:
    """Sends the same again and again, as far as the server lets us, without reading."""

    def send() -> None:
        try:
            for _ in range(times):
                raw.send(piece)
        except OSError:
            pass  # it has hung up on us, as it should

    threading.Thread(target=send, daemon=True).start()


def connection_of(server):
    until(lambda: len(server.transport._shared.connections) == 1)
    (connection,) = server.transport._shared.connections
    return connection


# Headers.


def test_a_header_list_above_the_limit_is_refused_and_forgotten(server):
    with server.client() as raw:
        raw.open(1, "/test.S/Echo", ("big", "x" * 17_000))
        fields, _ = raw.answer(1)
        assert fields["grpc-status"] == "8"
        assert "metadata size exceeds" in fields["grpc-message"]
        raw.call(3)
        assert raw.answer(3)[0]["grpc-status"] == "0"


def test_grpcio_is_told_that_its_metadata_is_too_large(server):
    with channel(server.address) as connected, pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Echo")(b"", metadata=[("big", "x" * 20_000)], timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_small_block_that_unpacks_to_much_ends_the_connection(server):
    with server.client() as raw:
        planted = raw.headers("/test.S/Echo", ("bomb", "x" * 4000))
        raw.send(frames.pack(frames.HEADERS, 4, 1, planted))
        raw.send(frames.pack(frames.HEADERS, 4, 3, b"\xbe" * 10_000))
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM
    assert answers(server.address)


@pytest.mark.parametrize("part", [b"", b"\x82" * 10, b"\x82" * 16_000])
def test_headers_without_end_are_cut_off(server, part):
    with server.client() as raw:
        raw.send(frames.pack(frames.HEADERS, 0, 1, part))
        flood(raw, frames.pack(frames.CONTINUATION, 0, 1, part), 1000)
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM


# Frames that ask for nothing.


@pytest.mark.parametrize(
    "frame",
    [
        frames.pack(frames.PING, 0, 0, bytes(8)),
        frames.pack(frames.PING, frames.ACK, 0, bytes(8)),
        frames.settings({}),
        frames.settings({Setting.INITIAL_WINDOW_SIZE: 1}),
        frames.pack(frames.PRIORITY, 0, 1, bytes(5)),
        frames.pack(frames.DATA, 0, 1),
        frames.pack(frames.DATA, frames.PADDED, 1, bytes(1)),
        frames.window_update(0, 1),
        frames.goaway(0, Code.NO_ERROR),
    ],
    ids=["ping", "pong", "settings", "windows", "priority", "empty data", "padding", "dribble", "goaway"],
)
def test_floods_are_ended(frame):
    with running(control_burst=500, control_rate=10) as server, server.client() as raw:
        raw.open(1, "/test.S/Chat")
        flood(raw, frame * 100, 100)
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM
        assert answers(server.address)


def test_settings_of_many_entries_are_refused(server):
    with server.client() as raw:
        raw.send(frames.pack(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 1) * 1000))
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM


def test_pings_between_calls_are_welcome():
    with running(control_burst=20, control_rate=0) as server, server.client() as raw:
        for number in range(1, 201, 2):
            raw.send(frames.pack(frames.PING, 0, 0, bytes(8)))
            raw.call(number)
            assert raw.answer(number)[0]["grpc-status"] == "0"


# Rapid reset.


def test_rapid_resets_are_ended():
    with running(reset_burst=100, reset_rate=0) as server, server.client() as raw:
        for number in range(1, 1001, 2):
            try:
                raw.open(number, "/test.S/Hold")
                raw.data(number, message(b""))
                raw.send(frames.reset(number, Code.CANCEL))
            except OSError:
                break
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM
        assert len(server.services.held) <= 102
        assert answers(server.address)


def test_calls_that_still_run_count_though_they_were_reset():
    # The client cannot know of them, so it is not held against it that it asks for more.
    with running(streams=10, control_burst=10, control_rate=0) as server, server.client() as raw:
        for number in range(1, 21, 2):
            raw.call(number, path="/test.S/Hold")
            raw.send(frames.reset(number, Code.CANCEL))
        for number in range(21, 121, 2):
            raw.call(number, b"hello" * 20)
            assert raw.reset_code(number) is Code.REFUSED_STREAM
        for _, reply in server.services.held:
            reply(b"")
        until(lambda: connection_of(server).ghosts == 0)
        raw.call(121)
        assert raw.answer(121)[0]["grpc-status"] == "0"


def test_who_gives_up_half_of_them_may_still_have_as_many_as_are_allowed():
    with running(streams=10) as server, server.client() as raw:
        for number in range(1, 11, 2):
            raw.call(number, path="/test.S/Hold")
            raw.send(frames.reset(number, Code.CANCEL))
        for number in range(11, 31, 2):
            raw.call(number, path="/test.S/Hold")
        until(lambda: len(server.services.held) == 15)
        for _, reply in server.services.held:
            reply(b"")
        for number in range(11, 31, 2):
            assert raw.answer(number)[0]["grpc-status"] == "0"


def test_more_calls_than_are_allowed_are_a_flood():
    with running(streams=10, control_burst=10, control_rate=0) as server, server.client() as raw:
        for number in range(1, 101, 2):
            raw.call(number, path="/test.S/Hold")
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM
        assert answers(server.address)


def test_who_has_waited_may_give_up(monkeypatch):
    monkeypatch.setattr(stream, "PATIENCE_SECONDS", 0.0)
    with running(reset_burst=5, reset_rate=0) as server, server.client() as raw:
        for number in range(1, 101, 2):
            raw.call(number, path="/test.S/Hold")
            raw.send(frames.reset(number, Code.CANCEL))
        raw.call(101)
        assert raw.answer(101)[0]["grpc-status"] == "0"


def test_giving_up_now_and_then_is_allowed():
    with running(reset_burst=5, reset_rate=0) as server, server.client() as raw:
        for number in range(1, 401, 4):
            raw.open(number, "/test.S/Hold")
            raw.send(frames.reset(number, Code.CANCEL))
            raw.call(number + 2)
            assert raw.answer(number + 2)[0]["grpc-status"] == "0"


# Slow readers.


def test_answers_that_nobody_takes_hold_up_the_next_calls_but_lose_none():
    with running(unsent=1_000_000) as server, server.client(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as raw:
        for number in range(1, 41, 2):
            raw.call(number, b"200000", "/test.S/Size")
            raw.send(frames.pack(frames.PING, 0, 0, bytes(8)))
            raw.until(frames.PING)
        assert connection_of(server).sender.unsent == 5 * 200_005
        assert answers_beside(server)
        raw.send(frames.window_update(0, 2**30) + frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**30}))
        ended = 0
        while ended < 20:
            kind, flags, _, _ = raw.frame()
            ended += kind == frames.HEADERS and flags & frames.END_STREAM
        assert connection_of(server).sender.unsent == 0


def answers_beside(server) -> bool:
    good = answers(server.address)
    until(lambda: len(server.transport._shared.connections) == 1)
    return good


def test_a_socket_that_nobody_reads_is_not_read_either():
    with running(control_burst=2**40, write_buffer=100_000) as server, server.client() as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood(raw, frames.pack(frames.PING, 0, 0, bytes(8)) * 1000, 10_000)
        until(lambda: connection_of(server).sender.paused)
        assert connection_of(server)._transport.get_write_buffer_size() < 10_000_000
        assert answers(server.address)


def test_a_stream_whose_messages_nobody_takes_ends():
    with running(unsent_stream=1000) as server, server.client(settings={Setting.INITIAL_WINDOW_SIZE: 0}) as raw:
        raw.open(1, "/test.S/Count")
        raw.data(1, message(b"10000"))
        assert raw.answer(1)[0]["grpc-status"] == "8"


def test_a_client_that_never_takes_its_answer_is_hung_up_on():
    unwilling = {Setting.INITIAL_WINDOW_SIZE: 0}
    with running(stall_seconds=0.1, sweep_seconds=0.02) as server, server.client(settings=unwilling) as raw:
        raw.call(1)
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM


def test_a_request_that_stops_half_way_is_hung_up_on():
    with running(stall_seconds=0.1, sweep_seconds=0.02) as server, server.client() as raw:
        raw.open(1)
        raw.data(1, message(b"hello")[:7], end=False)
        assert raw.goodbye() is Code.ENHANCE_YOUR_CALM


# Memory.


def test_requests_that_are_half_here_are_bounded():
    with running(held=1_000_000, held_share=0.5) as server, server.client() as raw:
        for number in (1, 3):
            raw.open(number)
            raw.data(number, message(bytes(400_000))[:-1], end=False)
            if number == 1:  # apart from the next one: what is read at once counts for both
                raw.send(frames.pack(frames.PING, 0, 0, bytes(8)))
                raw.until(frames.PING)
        assert raw.answer(3)[0]["grpc-status"] == "8"
        raw.data(1, b"\0")
        raw.send(frames.window_update(1, 2**20) + frames.window_update(0, 2**20))
        assert raw.answer(1)[0]["grpc-status"] == "0"
        until(lambda: server.transport._shared.budget.held == 0)


def test_requests_that_are_half_here_are_bounded_over_all_clients():
    with running(held=1_000_000, held_share=0.75) as server, server.client() as first, server.client() as second:
        for raw in (first, second):
            raw.open(1)
            raw.data(1, message(bytes(600_000))[:-1], end=False)
            raw.send(frames.pack(frames.PING, 0, 0, bytes(8)))
            raw.until(frames.PING)
        statuses = [
            dict(raw.decoder.decode(frame[3])) for raw in (first, second) for frame in raw.seen if frame[0] == 1
        ]
        assert [fields["grpc-status"] for fields in statuses] == ["8"]
        assert answers(server.address)


def test_requests_count_until_they_are_answered():
    with running(held=1_000_000) as server, channel(server.address) as connected:
        first = connected.unary_unary("/test.S/Hold").future(bytes(600_000))
        until(lambda: server.services.held)
        with pytest.raises(grpc.RpcError) as caught:
            connected.unary_unary("/test.S/Echo")(bytes(600_000), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        server.services.held[0][1](b"done")
        assert first.result() == b"done"
        assert connected.unary_unary("/test.S/Echo")(bytes(600_000), timeout=20) == bytes(600_000)


def test_many_tiny_pieces_are_not_free():
    with running(held=500_000) as server, server.client() as raw:
        raw.open(1)
        raw.send(frames.pack(frames.DATA, 0, 1, message(bytes(100_000))[:5]))
        flood(raw, frames.pack(frames.DATA, 0, 1, b"xy") * 100, 100)
        assert raw.answer(1)[0]["grpc-status"] == "8"


def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(bytes(50_000_000))
    with running(Options(max_request_bytes=1_000_000)) as server, server.client() as raw:
        before = psutil.Process().memory_info().rss
        raw.open(1, "/test.S/Echo", ("grpc-encoding", "gzip"))
        raw.data(1, message(bomb, flag=1))
        fields, _ = raw.answer(1)
        assert fields["grpc-status"] == "8"
        assert fields["grpc-message"].startswith("Received message larger than max (")
        assert psutil.Process().memory_info().rss - before < 20_000_000


# Silence.


@pytest.mark.parametrize("first", [b"", frames.PREFACE[:10], frames.PREFACE])
def test_a_client_must_introduce_itself_in_time(first):
    with running(preface_seconds=0.1, sweep_seconds=0.02) as server, server.client(greet=False) as raw:
        raw.send(first)
        assert raw.goodbye() is Code.SETTINGS_TIMEOUT


def test_idle_clients_may_stay():
    with running(preface_seconds=0.1, sweep_seconds=0.02, stall_seconds=0.1) as server, server.client() as raw:
        threading.Event().wait(0.3)
        raw.call(1)
        assert raw.answer(1)[0]["grpc-status"] == "0"


def test_thousands_of_idle_clients_cost_little():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, (hard - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 200), hard))
    with running() as server:
        before = psutil.Process().memory_info().rss
        clients = [server.client() for _ in range(count)]
        try:
            until(lambda: len(server.transport._shared.connections) == count)
            assert (psutil.Process().memory_info().rss - before) / count < 30_000
            assert answers(server.address)
        finally:
            for raw in clients:
                raw.socket.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
