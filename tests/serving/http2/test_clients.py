"""The official clients: Python's grpcio, blocking and asyncio."""

from __future__ import annotations

import asyncio
import os
import threading

import grpc
import grpc.aio
import pytest
from http2_support import UNLIMITED, Server, channel, running
from support import until

from serving.server.transports import Options


@pytest.fixture(scope="module")
def shared():
    with running(addresses=("127.0.0.1:0", "[::1]:0")) as server:
        yield server


@pytest.fixture
def server(shared: Server):
    for seen in (shared.services.calls, shared.services.held, shared.services.threads):
        seen.clear()
    return shared


@pytest.fixture
def connected(server: Server):
    with channel(server.address) as made:
        yield made


@pytest.mark.parametrize("size", [0, 1, 4, 3000, 16_379, 16_380, 70_000, 300_000, 1_100_000, 5_000_000])
def test_a_request_of_any_size_is_answered(connected, size):
    data = os.urandom(size)
    assert connected.unary_unary("/test.S/Echo")(data, timeout=60) == data


def test_64_megabytes_travel_both_ways(connected):
    data = os.urandom(2**20) * 64
    assert connected.unary_unary("/test.S/Echo")(data, timeout=120) == data


def test_many_calls_at_once_each_get_their_own_answer(connected):
    echo = connected.unary_unary("/test.S/Echo")
    requests = [os.urandom(size) for size in range(0, 60_000, 300)]
    futures = [echo.future(request, timeout=60) for request in requests]
    assert [future.result() for future in futures] == requests


def test_more_calls_than_streams_wait_their_turn():
    with running(streams=10) as server, channel(server.address) as connected:
        futures = [connected.unary_unary("/test.S/Later").future(b"%d" % i, timeout=60) for i in range(100)]
        assert [future.result() for future in futures] == [b"%d" % i for i in range(100)]


def test_answers_may_come_from_other_threads(connected):
    assert connected.unary_unary("/test.S/Later")(b"x", timeout=20) == b"x"


def test_blocking_methods_and_large_requests_leave_the_loop_alone(server, connected):
    connected.unary_unary("/test.S/Echo")(b"small", timeout=20)
    connected.unary_unary("/test.S/Blocking")(b"small", timeout=20)
    connected.unary_unary("/test.S/Echo")(bytes(2_000_000), timeout=20)
    loop, *others = server.services.threads
    assert loop == "http2"
    assert all(name.startswith("grpc") for name in others)


@pytest.mark.parametrize("code", [1, 3, 4, 5, 7, 8, 9, 12, 13, 14, 16])
def test_an_error_has_its_code_and_text(connected, code):
    text = "100 % 'größe' 例\nline"
    with pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Fail")(bytes([code]) + text.encode(), timeout=20)
    assert caught.value.code().value[0] == code
    assert caught.value.details() == text


def test_a_long_text_is_cut(connected):
    with pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Fail")(b"\x03" + b"x" * 3000, timeout=20)
    assert caught.value.details() == "x" * 1024 + "...TRUNCATED"


def test_a_bug_in_a_method_is_internal(connected):
    with pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Fail")(b"", timeout=20)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "ValueError: a bug")


def test_an_unknown_method_is_unimplemented(connected):
    with pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Nothing")(b"", timeout=20)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def test_a_call_knows_its_metadata_and_peer(server, connected):
    sent = [("x-request-id", "a1"), ("twice", "1"), ("twice", "2"), ("raw-bin", b"\x00\xff\x80")]
    connected.unary_unary("/test.S/Echo")(b"", metadata=sent, timeout=20)
    call = server.services.calls[0]
    assert call.request_id == "a1"
    assert call.metadata["twice"] == "1,2"
    assert call.metadata["raw-bin"].encode("latin-1") == b"\x00\xff\x80"
    assert not [name for name in call.metadata if name.startswith(("grpc-", ":")) or name in ("te", "content-type")]
    assert call.peer.startswith("127.0.0.1:")


def test_a_deadline_ends_the_call_and_cancels_it(server, connected):
    with pytest.raises(grpc.RpcError) as caught:
        connected.unary_unary("/test.S/Hold")(b"", timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: server.services.calls and server.services.calls[0].cancelled)
    assert server.services.calls[0].seconds_left() == 0


def test_a_cancelled_call_is_cancelled_here_too(server, connected):
    future = connected.unary_unary("/test.S/Hold").future(b"")
    until(lambda: server.services.calls)
    heard = threading.Event()
    server.services.calls[0].on_cancel(heard.set)
    future.cancel()
    assert heard.wait(20)
    server.services.held[0][1](b"too late")
    assert connected.unary_unary("/test.S/Echo")(b"next", timeout=20) == b"next"


def test_a_lost_connection_cancels_its_calls(server):
    with channel(server.address) as lost:
        future = lost.unary_unary("/test.S/Hold").future(b"")  # without its name it would be cancelled at once
        until(lambda: server.services.calls)
        assert not future.done()
    until(lambda: server.services.calls[0].cancelled)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
def test_compressed_requests_are_read(connected, compression, size):
    data = (os.urandom(1000) * 3000)[:size]
    assert connected.unary_unary("/test.S/Echo")(data, compression=compression, timeout=20) == data


def test_compressed_messages_of_streams_are_read(connected):
    sent = [b"a" * 1000, b"", b"b" * 70_000]
    chat = connected.stream_stream("/test.S/Chat")
    assert list(chat(iter(sent), compression=grpc.Compression.Gzip, timeout=20)) == sent


def test_a_request_above_the_limit_is_refused():
    with running(Options(max_request_bytes=100_000)) as server, channel(server.address) as connected:
        echo = connected.unary_unary("/test.S/Echo")
        assert echo(bytes(100_000), timeout=20) == bytes(100_000)
        for size in (100_001, 10_000_000):
            with pytest.raises(grpc.RpcError) as caught:
                echo(bytes(size), timeout=20)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert caught.value.details() == f"Received message larger than max ({size} vs. 100000)"
        assert echo(b"next", timeout=20) == b"next"


def test_a_stream_carries_messages_both_ways(connected):
    sent = [os.urandom(size) for size in (0, 1, 50_000, 2_000_000)]
    assert list(connected.stream_stream("/test.S/Chat")(iter(sent), timeout=30)) == sent


def test_a_stream_of_answers_comes_in_order(connected):
    counted = connected.unary_stream("/test.S/Count")(b"1000", timeout=20)
    assert [int(number) for number in counted] == list(range(1000))


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [(b"fail", grpc.StatusCode.NOT_FOUND, "nothing here"), (b"bug", grpc.StatusCode.INTERNAL, "ValueError: a bug")],
)
def test_a_stream_ends_with_its_error(connected, message, code, text):
    chat = connected.stream_stream("/test.S/Chat")(iter([b"first", message]), timeout=20)
    received = []
    with pytest.raises(grpc.RpcError) as caught:
        received += [each for each in chat]  # noqa: C416  keeps what came before the error
    assert (caught.value.code(), caught.value.details()) == (code, text)


def test_a_cancelled_stream_cancels_its_call(server, connected):
    watch = connected.unary_stream("/test.S/Count")(b"-1")
    assert next(watch) == b"0"
    watch.cancel()
    until(lambda: server.services.calls[0].cancelled)


def test_a_stream_has_a_deadline(server, connected):
    with pytest.raises(grpc.RpcError) as caught:
        list(connected.unary_stream("/test.S/Count")(b"-1", timeout=0.2))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: server.services.calls[0].cancelled)


def test_every_address_answers(server):
    for address in server.transport.addresses:
        with channel(address) as connected:
            assert connected.unary_unary("/test.S/Echo")(b"x", timeout=20) == b"x"
    assert server.services.calls[-1].peer.startswith("[::1]:")


def test_asyncio_clients_work_too(server):
    async def talk() -> None:
        async with grpc.aio.insecure_channel(server.address, options=UNLIMITED) as connected:
            echo = connected.unary_unary("/test.S/Echo")
            requests = [os.urandom(size) for size in range(0, 40_000, 400)]
            assert await asyncio.gather(*(echo(request, timeout=30) for request in requests)) == requests
            chat = connected.stream_stream("/test.S/Chat")(iter([b"a", b"b"]), timeout=30)
            assert [answer async for answer in chat] == [b"a", b"b"]

    asyncio.run(talk())
