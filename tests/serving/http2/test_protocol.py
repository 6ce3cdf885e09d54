"""HTTP/2 and gRPC's rules on it, frame by frame."""

from __future__ import annotations

import gzip
import socket
import struct

import pytest
from http2_support import answers, message, running

from serving.server.transports import Options
from serving.server.transports.http2 import frames
from serving.server.transports.http2.frames import Code, Setting

WINDOW = Setting.INITIAL_WINDOW_SIZE


@pytest.fixture(scope="module")
def server():
    with running() as started:
        yield started


@pytest.fixture
def raw(server):
    with server.client() as connected:
        yield connected


def test_a_call_is_headers_data_and_trailers(raw):
    raw.call(1, b"hello")
    fields, body = raw.answer(1)
    assert fields == {":status": "200", "content-type": "application/grpc", "grpc-status": "0"}
    assert body == message(b"hello")


def test_the_server_says_its_settings_and_acknowledges_ours(raw):
    settings = dict(frames.SETTING.iter_unpack(raw.until(frames.SETTINGS)[3]))
    assert settings[Setting.MAX_CONCURRENT_STREAMS] == 1000
    assert settings[Setting.MAX_HEADER_LIST_SIZE] == 16 * 1024
    assert raw.until(frames.SETTINGS)[1] == frames.ACK


def test_a_ping_comes_back(raw):
    raw.send(frames.pack(frames.PING, 0, 0, b"12345678"))
    assert raw.until(frames.PING) == (frames.PING, frames.ACK, 0, b"12345678")


def test_bytes_may_come_one_by_one(server):
    with server.client(greet=False) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = frames.PREFACE + frames.settings({}) + frames.pack(frames.HEADERS, 4, 1, raw.headers())
        for byte in whole + frames.pack(frames.DATA, 1, 1, message(b"slow")):
            raw.send(bytes([byte]))
        assert raw.answer(1)[1] == message(b"slow")


def test_a_message_may_be_split_over_frames_anywhere(raw):
    whole = message(b"0123456789")
    for number, cut in enumerate(range(len(whole) + 1)):
        raw.open(2 * number + 1)
        raw.data(2 * number + 1, whole[:cut], end=False)
        raw.data(2 * number + 1, whole[cut:])
        assert raw.answer(2 * number + 1)[1] == whole


def test_the_end_may_come_in_an_empty_frame(raw):
    raw.open(1)
    raw.data(1, message(b"x"), end=False)
    raw.data(1, b"")
    assert raw.answer(1)[1] == message(b"x")


def test_a_frame_may_hold_several_messages(raw):
    raw.open(1, "/test.S/Chat")
    raw.data(1, message(b"a") + message(b"") + message(b"b"))
    assert raw.answer(1)[1] == message(b"a") + message(b"") + message(b"b")


def test_padding_is_dropped(raw):
    body = message(b"padded")
    raw.send(frames.pack(frames.HEADERS, 0x4 | frames.PADDED, 1, b"\x03" + raw.headers() + b"\0\0\0"))
    padded = frames.pack(frames.DATA, 1 | frames.PADDED, 1, bytes([200]) + body + bytes(200))
    for start in range(0, len(padded), 7):
        raw.send(padded[start : start + 7])
    assert raw.answer(1)[1] == body


def test_padding_alone_may_end_a_request(raw):
    raw.open(1)
    raw.data(1, message(b"x"), end=False)
    raw.send(frames.pack(frames.DATA, 1 | frames.PADDED, 1, b"\x05" + bytes(5)))
    assert raw.answer(1)[1] == message(b"x")


def test_priority_is_read_over(raw):
    block = b"\0\0\0\0\x10" + raw.headers()
    raw.send(frames.pack(frames.PRIORITY, 0, 1, b"\0\0\0\0\x10"))
    raw.send(frames.pack(frames.HEADERS, 0x4 | frames.WITH_PRIORITY, 1, block))
    raw.data(1, message(b"x"))
    assert raw.answer(1)[0]["grpc-status"] == "0"


def test_headers_may_go_on_in_continuations(raw):
    block = raw.headers("/test.S/Echo", ("long", "x" * 3000))
    parts = [block[start : start + 1000] for start in range(0, len(block), 1000)]
    raw.send(frames.pack(frames.HEADERS, 0, 1, parts[0]))
    for part in parts[1:]:
        raw.send(frames.pack(frames.CONTINUATION, 0x4 if part is parts[-1] else 0, 1, part))
    raw.data(1, message(b"x"))
    assert raw.answer(1)[0]["grpc-status"] == "0"


def test_unknown_frames_are_ignored(raw):
    raw.send(frames.pack(0xFA, 0xFF, 77, b"whatever"))
    raw.call(1)
    assert raw.answer(1)[0]["grpc-status"] == "0"


def test_a_request_may_end_with_trailers(raw):
    raw.open(1)
    raw.data(1, message(b"x"), end=False)
    raw.send(frames.pack(frames.HEADERS, 0x5, 1, raw.encoder.encode([("bye", "now")])))
    assert raw.answer(1)[1] == message(b"x")


def test_headers_that_repeat_and_headers_that_change_are_both_understood(raw):
    for number, name in enumerate(["a", "a", "b", "a", "c", "c", "a"]):
        raw.open(2 * number + 1, "/test.S/Echo", ("x-request-id", name))
        raw.data(2 * number + 1, message(b""))
        assert raw.answer(2 * number + 1)[0]["grpc-status"] == "0"


def test_every_call_of_a_client_has_its_own_headers(server):
    server.services.calls.clear()
    with server.client() as raw:
        names = ["a", "a", "b", "a", "c", "b", "b", *map(str, range(200)), "a", "a"]
        for number, name in enumerate(names):
            raw.open(2 * number + 1, "/test.S/Echo", ("x-request-id", name))
            raw.data(2 * number + 1, message(b""))
            raw.answer(2 * number + 1)
    assert [call.request_id for call in server.services.calls] == names


# Sending within windows.


def test_an_answer_waits_for_the_streams_window(server):
    with server.client(settings={WINDOW: 10}) as raw:
        raw.call(1, b"0123456789")
        assert raw.until(frames.DATA, 1)[3] == message(b"0123456789")[:10]
        raw.send(frames.window_update(1, 3))
        assert raw.until(frames.DATA, 1)[3] == b"567"
        raw.send(frames.settings({WINDOW: 100}))
        assert raw.until(frames.DATA, 1)[3] == b"89"
        assert raw.decoder.decode(raw.until(frames.HEADERS, 1)[3]) == [("grpc-status", "0")]


def test_a_window_may_fall_below_zero(server):
    with server.client(settings={WINDOW: 10}) as raw:
        raw.call(1, b"0123456789")
        raw.until(frames.DATA, 1)
        raw.send(frames.settings({WINDOW: 0}) + frames.window_update(1, 10))
        raw.call(3, b"")
        raw.send(frames.pack(frames.PING, 0, 0, bytes(8)))
        raw.until(frames.PING)
        assert not [frame for frame in raw.seen if frame[:3] == (frames.DATA, 0, 3)]
        raw.send(frames.window_update(1, 4))
        assert raw.until(frames.DATA, 1)[3] == b"5678"


def test_an_answer_waits_for_the_connections_window(server):
    with server.client(settings={WINDOW: 2**30}) as raw:
        raw.call(1, b"100000", "/test.S/Size")
        received = b""
        while len(received) < frames.DEFAULT_WINDOW:
            received += raw.until(frames.DATA, 1)[3]
        assert len(received) == frames.DEFAULT_WINDOW
        raw.send(frames.window_update(0, 2**20))
        assert len(raw.answer(1)[1]) == 100_005 - len(received)


def test_frames_keep_to_the_clients_size(server):
    with server.client(settings={WINDOW: 2**30, Setting.MAX_FRAME_SIZE: 20_000}) as raw:
        raw.send(frames.window_update(0, 2**20))
        raw.call(1, b"100000", "/test.S/Size")
        raw.answer(1)
        assert max(len(frame[3]) for frame in raw.seen) == 20_000


def test_streams_take_turns(server):
    with server.client(settings={WINDOW: 2**30}) as raw:
        for number in (1, 3):
            raw.call(number, b"200000", "/test.S/Size")
        raw.until(frames.HEADERS, 3)
        raw.send(frames.window_update(0, 2**20))
        raw.until(frames.HEADERS)
        order = [frame[2] for frame in raw.seen if frame[0] == frames.DATA]
        assert abs(order.count(1) - order.count(3)) <= 5


def test_receiving_windows_are_opened_again(server):
    with server.client() as raw:
        raw.open(1)
        body = message(bytes(12_000_000))
        for start in range(0, len(body), 500_000):
            raw.data(1, body[start : start + 500_000], end=start + 500_000 >= len(body))
        raw.send(frames.window_update(1, 2**30) + frames.window_update(0, 2**30))
        assert len(raw.answer(1)[1]) == len(body)
        given = dict.fromkeys((0, 1), 0)
        for kind, _, number, payload in raw.seen:
            if kind == frames.WINDOW_UPDATE:
                given[number] += struct.unpack(">I", payload)[0]
        assert given[1] >= 8_000_000
        assert given[0] >= 8_000_000


# gRPC's rules.


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("content-type", "application/json", "415"),
        ("content-type", "application/grpcx", "415"),
        ("content-type", "application/grpc+proto", "200"),
        ("content-type", "application/grpc;x=1", "200"),
        (":method", "GET", "405"),
    ],
)
def test_what_is_not_grpc_gets_an_http_status(raw, name, value, status):
    fields = {":method": "POST", ":scheme": "http", ":path": "/test.S/Echo", "content-type": "application/grpc"}
    raw.send(frames.pack(frames.HEADERS, 4, 1, raw.encoder.encode(list({**fields, name: value}.items()))))
    raw.data(1, message(b""))
    assert raw.answer(1)[0][":status"] == status


@pytest.mark.parametrize(
    ("extra", "body", "status"),
    [
        ([], b"", "13"),  # no message
        ([], message(b"a") + message(b"b"), "13"),  # two
        ([], message(b"abc")[:-1], "13"),  # less than one
        ([], b"\0\0", "13"),
        ([], message(b"a", flag=1), "13"),  # compressed, but how?
        ([], message(b"a", flag=7), "13"),
        ([("grpc-encoding", "gzip")], message(b"no gzip", flag=1), "13"),
        ([("grpc-encoding", "gzip")], message(gzip.compress(b"a", mtime=0)[:-3], flag=1), "13"),
        ([("grpc-encoding", "gzip")], message(b"not compressed"), "0"),
        ([("grpc-encoding", "snappy")], message(b"a", flag=1), "12"),
        ([("grpc-timeout", "soon")], message(b"a"), "13"),
        ([("grpc-timeout", "123456789S")], message(b"a"), "13"),
        ([("x-bin", "***")], message(b"a"), "13"),
    ],
)
def test_wrong_requests_get_a_status(raw, extra, body, status):
    raw.open(1, "/test.S/Echo", *extra)
    raw.data(1, body)
    assert raw.answer(1)[0]["grpc-status"] == status


def test_an_unsupported_encoding_is_told_what_is_supported(raw):
    raw.open(1, "/test.S/Echo", ("grpc-encoding", "snappy"))
    assert raw.answer(1)[0]["grpc-accept-encoding"] == "identity,deflate,gzip"


@pytest.mark.parametrize(("accepts", "flag"), [("identity,gzip", 1), ("identity", 0), ("", 0)])
def test_answers_are_compressed_for_clients_that_do_it_themselves(raw, accepts, flag):
    text = b"a" * 10_000
    raw.open(1, "/test.S/Echo", ("grpc-encoding", "gzip"), ("grpc-accept-encoding", accepts))
    raw.data(1, message(gzip.compress(text), flag=1))
    fields, body = raw.answer(1)
    assert body[0] == flag
    assert (gzip.decompress(body[5:]) if flag else body[5:]) == text
    assert fields.get("grpc-encoding") == ("gzip" if flag else None)


def test_an_early_error_resets_the_rest_of_the_request(raw):
    raw.open(1, "/test.S/Nothing")
    assert raw.answer(1)[0]["grpc-status"] == "12"
    assert raw.reset_code(1) is Code.NO_ERROR
    raw.data(1, message(b"late"))
    raw.call(3)
    assert raw.answer(3)[0]["grpc-status"] == "0"


def test_a_deadline_ends_a_request_that_is_half_here(raw):
    raw.open(1, "/test.S/Echo", ("grpc-timeout", "50m"))
    raw.data(1, b"\0\0", end=False)
    assert raw.answer(1)[0]["grpc-status"] == "4"


def test_http_1_is_told_what_this_is(server):
    with server.client(greet=False) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while more := raw.socket.recv(1000):
            received += more
        assert b"HTTP/1.1 400 Bad Request\r\n" in received
        assert b"gRPC" in received


# Violations. h2's names of errors are the RFC's.

HEADERS, DATA, RST, SETTINGS, PUSH, PING, WINDOW_UPDATE, CONTINUATION = 1, 0, 3, 4, 5, 6, 8, 9
FATAL = {
    "data on stream 0": (frames.pack(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "data on an idle stream": (frames.pack(DATA, 0, 5, b"x"), Code.PROTOCOL_ERROR),
    "headers on stream 0": (frames.pack(HEADERS, 4, 0, b"\x82"), Code.PROTOCOL_ERROR),
    "headers on a server's stream": (frames.pack(HEADERS, 4, 2, b"\x82"), Code.PROTOCOL_ERROR),
    "headers with too much padding": (frames.pack(HEADERS, 4 | 8, 1, b"\xff\x82"), Code.PROTOCOL_ERROR),
    "an index that does not exist": (frames.pack(HEADERS, 4, 1, b"\xff\xff\x03"), Code.COMPRESSION_ERROR),
    "an endless integer": (frames.pack(HEADERS, 4, 1, b"\xff" * 50), Code.COMPRESSION_ERROR),
    "bad huffman": (frames.pack(HEADERS, 4, 1, b"\x00\x84\xff\xff\xff\xff\x00"), Code.COMPRESSION_ERROR),
    "a table too large": (frames.pack(HEADERS, 4, 1, b"\x3f\xe1\xff\x07"), Code.COMPRESSION_ERROR),
    "a reset of an idle stream": (frames.reset(9, Code.CANCEL), Code.PROTOCOL_ERROR),
    "a reset of stream 0": (frames.reset(0, Code.CANCEL), Code.PROTOCOL_ERROR),
    "a short reset": (frames.pack(RST, 0, 1, b"x"), Code.FRAME_SIZE_ERROR),
    "settings of a stream": (frames.pack(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "odd settings": (frames.pack(SETTINGS, 0, 0, b"12345"), Code.FRAME_SIZE_ERROR),
    "an ack with settings": (frames.pack(SETTINGS, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "push neither on nor off": (frames.settings({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
    "a window too large": (frames.settings({WINDOW: 2**31}), Code.FLOW_CONTROL_ERROR),
    "frames too small": (frames.settings({Setting.MAX_FRAME_SIZE: 16_383}), Code.PROTOCOL_ERROR),
    "frames too large": (frames.settings({Setting.MAX_FRAME_SIZE: 2**24}), Code.PROTOCOL_ERROR),
    "a push": (frames.pack(PUSH, 4, 1, bytes(5)), Code.PROTOCOL_ERROR),
    "a short ping": (frames.pack(PING, 0, 0, b"x"), Code.FRAME_SIZE_ERROR),
    "a ping of a stream": (frames.pack(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "a window update of 0": (frames.window_update(0, 0), Code.PROTOCOL_ERROR),
    "a window update of an idle stream": (frames.window_update(7, 1), Code.PROTOCOL_ERROR),
    "a short window update": (frames.pack(WINDOW_UPDATE, 0, 0, b"x"), Code.FRAME_SIZE_ERROR),
    "a window that overflows": (frames.window_update(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    "a continuation of nothing": (frames.pack(CONTINUATION, 4, 1, b""), Code.PROTOCOL_ERROR),
    "headers that are interrupted": (frames.pack(HEADERS, 0, 1, b"") + frames.pack(PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    "a continuation elsewhere": (frames.pack(HEADERS, 0, 1) + frames.pack(CONTINUATION, 4, 3), Code.PROTOCOL_ERROR),
    "a frame above the maximum": (frames.HEADER.pack((2**20 + 1) << 8, 0, 1), Code.FRAME_SIZE_ERROR),
    "headers above the maximum": (frames.HEADER.pack(2**19 << 8 | HEADERS, 4, 1), Code.ENHANCE_YOUR_CALM),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), FATAL.values(), ids=FATAL)
def test_a_broken_rule_ends_the_connection_and_no_other(server, sent, code):
    with server.client() as raw:
        raw.send(sent)
        assert raw.goodbye() is code
    assert answers(server.address)


@pytest.mark.parametrize("first", [b"\0" * 30, frames.PREFACE[:-1] + b"x", b"\x16\x03\x01\x02\x00" + bytes(40)])
def test_a_client_must_begin_with_the_preface(server, first):
    with server.client(greet=False) as raw:
        raw.send(first)
        assert raw.goodbye() is Code.PROTOCOL_ERROR


def test_settings_must_come_first(server):
    with server.client(greet=False) as raw:
        raw.send(frames.PREFACE + frames.pack(frames.PING, 0, 0, bytes(8)))
        assert raw.goodbye() is Code.PROTOCOL_ERROR


BAD_HEADERS = {
    "no path": [(":method", "POST"), (":scheme", "http")],
    "no method": [(":path", "/a"), (":scheme", "http")],
    "no scheme": [(":method", "POST"), (":path", "/a")],
    "an empty path": [(":method", "POST"), (":scheme", "http"), (":path", "")],
    "a path twice": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":path", "/b")],
    "an answer's header": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":status", "200")],
    "a pseudo header late": [(":method", "POST"), (":scheme", "http"), ("a", "b"), (":path", "/a")],
    "capitals": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("Name", "b")],
    "an empty name": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("", "b")],
    "a connection header": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("connection", "close")],
    "a line break": [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("a", "b\nc: d")],
}


@pytest.mark.parametrize("fields", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_malformed_headers_end_their_stream_alone(raw, fields):
    raw.send(frames.pack(frames.HEADERS, 5, 1, raw.encoder.encode(fields)))
    assert raw.reset_code(1) is Code.PROTOCOL_ERROR
    raw.call(3)
    assert raw.answer(3)[0]["grpc-status"] == "0"


def test_a_streams_mistakes_end_it_alone(raw):
    raw.open(1, "/test.S/Hold")
    raw.data(1, message(b""))
    raw.data(1, message(b""))
    assert raw.reset_code(1) is Code.STREAM_CLOSED
    raw.open(3)
    raw.send(frames.window_update(3, 0))
    assert raw.reset_code(3) is Code.PROTOCOL_ERROR
    raw.open(5)
    raw.send(frames.window_update(5, 2**31 - 1))
    assert raw.reset_code(5) is Code.FLOW_CONTROL_ERROR
    raw.open(7)
    raw.open(7)
    assert raw.reset_code(7) is Code.PROTOCOL_ERROR
    raw.open(5)
    assert raw.reset_code(5) is Code.STREAM_CLOSED
    raw.call(9)
    assert raw.answer(9)[0]["grpc-status"] == "0"


def test_more_data_than_the_windows_is_an_error():
    with running(stream_window=70_000, connection_window=100_000) as server:
        with server.client() as raw:
            raw.open(1)
            raw.data(1, bytes(70_001), end=False)
            assert raw.reset_code(1) is Code.FLOW_CONTROL_ERROR
        with server.client() as raw:
            raw.open(1)
            raw.data(1, bytes(100_001), end=False)
            assert raw.goodbye() is Code.FLOW_CONTROL_ERROR


def test_more_streams_than_allowed_are_refused():
    with running(Options(channel_arguments=[("grpc.max_concurrent_streams", 3)])) as server, server.client() as raw:
        for number in (1, 3, 5, 7):
            raw.call(number, path="/test.S/Hold")
        assert raw.reset_code(7) is Code.REFUSED_STREAM
        server.services.held[0][1](b"")
        raw.answer(1)
        raw.call(9)
        assert raw.answer(9)[0]["grpc-status"] == "0"
