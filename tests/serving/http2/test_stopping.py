"""An end in which nothing that was accepted is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import grpc
import pytest
from http2_support import Frames, Services, channel, message, running
from support import until

from serving.server.transports import Options
from serving.server.transports.http2 import Http2Transport, frames
from serving.server.transports.http2.frames import Code
from serving.server.transports.http2.listening import split


@pytest.fixture
def started():
    services = Services()
    transport = Http2Transport(services.methods(), ["127.0.0.1:0"], Options())
    transport.start()
    yield transport, services
    transport.stop(0)


def stop_in_background(transport: Http2Transport, grace: float) -> threading.Thread:
    thread = threading.Thread(target=transport.stop, args=(grace,))
    thread.start()
    return thread


def test_calls_under_way_are_finished(started):
    transport, services = started
    with channel(transport.addresses[0]) as connected:
        future = connected.unary_unary("/test.S/Hold").future(b"")
        until(lambda: services.held)
        stopping = stop_in_background(transport, 60)
        until(lambda: transport._shared.is_stopping)
        assert stopping.is_alive()
        services.held[0][1](b"finished")
        assert future.result(timeout=20) == b"finished"
        stopping.join(20)
        assert not stopping.is_alive()


def test_calls_that_take_longer_than_the_grace_are_cancelled(started):
    transport, services = started
    with channel(transport.addresses[0]) as connected:
        future = connected.unary_unary("/test.S/Hold").future(b"")
        until(lambda: services.held)
        transport.stop(0.1)
        assert future.code() is grpc.StatusCode.UNAVAILABLE
        assert future.details() == "The server is stopping"
        assert services.calls[0].cancelled
        services.held[0][1](b"too late")


def test_after_the_stop_nobody_answers(started):
    transport, _ = started
    with channel(transport.addresses[0]) as connected:
        echo = connected.unary_unary("/test.S/Echo")
        assert echo(b"x") == b"x"
        transport.stop(5)
        with pytest.raises(grpc.RpcError) as caught:
            echo(b"x", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_goaway_tells_which_calls_are_answered(started):
    transport, services = started
    with Frames(split(transport.addresses[0])) as raw:
        raw.call(1, path="/test.S/Hold")
        until(lambda: services.held)
        stopping = stop_in_background(transport, 60)
        assert int.from_bytes(raw.until(frames.GOAWAY)[3][:4], "big") == 2**31 - 1
        raw.call(3, b"sent before the client knew")
        assert raw.until(frames.DATA, 3)[3] == message(b"sent before the client knew")
        raw.send(frames.pack(frames.PING, frames.ACK, 0, next(seen for seen in raw.seen if seen[0] == frames.PING)[3]))
        assert int.from_bytes(raw.until(frames.GOAWAY)[3][:4], "big") == 3
        raw.call(5, b"sent after")
        assert raw.reset_code(5) is Code.REFUSED_STREAM
        services.held[0][1](b"finished")
        assert raw.until(frames.DATA, 1)[3] == message(b"finished")
        stopping.join(20)
        assert not stopping.is_alive()


def test_stopping_twice_and_stopping_without_a_start_are_fine():
    transport = Http2Transport({}, ["127.0.0.1:0"], Options())
    transport.stop(1)
    transport.stop(1)


def test_answers_after_the_stop_go_nowhere(started):
    transport, services = started
    with channel(transport.addresses[0]) as connected:
        future = connected.unary_unary("/test.S/Hold").future(b"")
        until(lambda: services.held)
        transport.stop(0)
        assert future.code() is grpc.StatusCode.UNAVAILABLE
    services.held[0][1](b"nobody hears")


# In a process of its own, since it has to be busy while the server stops.
LOAD = """
import sys, threading, grpc
address, size = sys.argv[1], int(sys.argv[2])
done = lost = 0
stop = threading.Event()
def call():
    global done, lost
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        echo = channel.unary_unary("/test.S/Later")
        while not stop.is_set():
            try:
                assert echo(bytes(size)) == bytes(size)
                done += 1
                if done == 20: print("warm", flush=True)
            except grpc.RpcError as error:
                if "failed to connect" not in error.details().lower() and "connection refused" not in error.details().lower():
                    lost += 1
                    print("lost", error.code(), error.details(), flush=True)
                return
threads = [threading.Thread(target=call) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join(60) for thread in threads]
print("done", done, "lost", lost, flush=True)
"""


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_server_that_stops_under_load_loses_no_call(started, size):
    transport, _ = started
    load = subprocess.Popen(
        [sys.executable, "-c", LOAD, transport.addresses[0], str(size)], stdout=subprocess.PIPE, text=True
    )
    assert load.stdout.readline() == "warm\n"
    transport.stop(30)
    told, _ = load.communicate(timeout=60)
    assert told.endswith("lost 0\n"), told


@pytest.mark.parametrize(
    "argument", [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_idle_ms", 100)], ids=["age", "idle"]
)
def test_connections_may_have_an_age(argument):
    with running(Options(channel_arguments=[argument]), sweep_seconds=0.02) as server, server.client() as raw:
        raw.call(1)
        assert raw.until(frames.GOAWAY)[3][4:8] == bytes(4)
        until(lambda: not server.transport._shared.connections)


def test_clients_of_a_connection_that_ages_notice_nothing():
    arguments = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 10_000)]
    with (
        running(Options(channel_arguments=arguments), sweep_seconds=0.02) as server,
        channel(server.address) as connected,
    ):
        later = connected.unary_unary("/test.S/Later")
        for number in range(30):
            assert later(b"%d" % number, timeout=20) == b"%d" % number
