"""Whatever bytes come: the server lives, and a good client beside gets right answers."""

from __future__ import annotations

import contextlib
import gzip
import logging
import random
import zlib

import hpack
import pytest
from http2_support import Frames, channel, message, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import errors
from serving.server import calls
from serving.server.transports.http2 import frames, messages, responses
from serving.server.transports.http2.headers import HeadReader, Malformed
from serving.server.transports.http2.limits import Budget
from serving.server.transports.http2.messages import Assembler

AGAINST_SERVER = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
HEADER_BLOCKS = [
    hpack.Encoder().encode(
        [(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", "application/grpc")]
    )
    for path in ("/test.S/Echo", "/test.S/Hold", "/test.S/Chat", "/test.S/Nothing")
]


@pytest.fixture(scope="module")
def server():
    with running(linger_seconds=0.2) as started, channel(started.address) as connected:
        started.echo = connected.unary_unary("/test.S/Echo")
        yield started


def sent_to(server, data: bytes, caplog) -> None:
    """Sends, hangs up, and asks the good client's question; the server must not have had an error of its own."""
    with Frames(server.place, greet=False) as raw:
        try:
            raw.send(data)
            raw.send(frames.pack(frames.PING, 0, 0, b"the end!"))
            raw.socket.settimeout(0.05)
            raw.until(frames.PING)
        except (OSError, AssertionError):
            pass
    question = random.Random(len(data)).randbytes(2000)
    assert server.echo(question, timeout=20) == question
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


GREETING = frames.PREFACE + frames.settings({})
payloads = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(HEADER_BLOCKS),
    st.binary(max_size=20).map(message),
    st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big")),
    st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)).map(lambda pair: frames.SETTING.pack(*pair)),
)
some_frames = st.lists(
    st.builds(
        frames.pack,
        st.integers(0, 11),
        st.sampled_from([0, 1, 4, 5, 8, 9, 0x20, 0x25, 0x2D, 0xFF]),
        st.integers(0, 9),
        payloads,
    ),
    max_size=30,
)
good_starts = st.lists(st.sampled_from(HEADER_BLOCKS), max_size=4).map(
    lambda blocks: [frames.pack(frames.HEADERS, 4, 2 * number + 1, block) for number, block in enumerate(blocks)]
)


@AGAINST_SERVER
@given(good_starts, some_frames)
def test_any_sequence_of_frames(server, caplog, begun, more):
    sent_to(server, GREETING + b"".join(begun + more), caplog)


@AGAINST_SERVER
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(server, caplog, data, greet):
    sent_to(server, (GREETING if greet else b"") + data, caplog)


@AGAINST_SERVER
@given(st.data())
def test_good_frames_with_a_fault(server, caplog, data):
    """Bits turned over in an exchange that was right."""
    whole = bytearray(GREETING)
    for number, block in enumerate(HEADER_BLOCKS):
        whole += frames.pack(frames.HEADERS, 4, 2 * number + 1, block)
        whole += frames.pack(frames.DATA, 1, 2 * number + 1, message(b"some text"))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(len(frames.PREFACE), len(whole) - 1))
        whole[position] ^= 1 << data.draw(st.integers(0, 7))
    sent_to(server, bytes(whole), caplog)


def test_nothing_is_left_of_them(server):
    shared = server.transport._shared
    for _, reply in server.services.held:
        reply(b"")
    server.echo(b"", timeout=20)
    assert shared.budget.held == 0


# The parts by themselves.


@given(st.lists(st.binary(max_size=300), max_size=10), st.integers(1, 50))
def test_messages_are_the_same_however_they_are_cut(texts, step):
    whole = b"".join(map(message, texts))
    budget = Budget(10**9)
    assembler = Assembler(10**6, budget)
    found = []
    for start in range(0, len(whole), step):
        found += assembler.feed(memoryview(whole[start : start + step]))
    assert [text for _, text in found] == texts
    assert assembler.is_between_messages
    assembler.release()
    assert budget.held == 0


@given(st.binary(max_size=5000), st.integers(0, 6000))
def test_unpacking_gives_the_message_or_an_error(text, limit):
    for encoding, packed in (("gzip", gzip.compress(text)), ("deflate", zlib.compress(text))):
        if len(text) <= limit:
            assert messages.decompressed(packed, encoding, limit) == text
        else:
            with pytest.raises(errors.ResourceExhausted):
                messages.decompressed(packed, encoding, limit)
    assert messages.decompressed(messages.gzipped(text), "gzip", len(text)) == text


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "identity"]))
def test_unpacking_anything_raises_nothing_else(data, encoding):
    with contextlib.suppress(errors.ServingError):
        messages.decompressed(data, encoding, 1000)


@given(st.text(max_size=400))
def test_any_text_arrives_as_a_status_message(text):
    block = responses.trailers(errors.NotFound(text))
    fields = dict(hpack.Decoder().decode(block))
    assert fields["grpc-status"] == "5"
    printable = fields["grpc-message"]
    assert printable.isascii()
    assert printable.isprintable()


@given(st.binary(max_size=300))
def test_reading_headers_raises_nothing_unexpected(block):
    reader = HeadReader({}, 1000, 2000)
    for _ in range(3):
        with contextlib.suppress(Malformed, frames.ConnectionError):
            reader.read(block)


names = st.sampled_from(["a", "b", "c", "x-request-id"])
some_fields = st.lists(st.tuples(names, st.text("xyz0", max_size=60)), max_size=5)


@given(st.lists(st.tuples(some_fields, st.booleans(), st.sampled_from([None, 0, 100, 4096])), max_size=30))
def test_remembered_headers_are_those_that_were_sent(requests):
    """Against a client whose table grows, shrinks and is used or not, as it likes."""
    method = calls.Unary("/m", lambda request, call, reply: None)
    encoder, reader = hpack.Encoder(), HeadReader({"/m": method}, 10**5, 10**5)
    fixed = [(":method", "POST"), (":scheme", "http"), (":path", "/m"), ("content-type", "application/grpc")]
    for fields, sensitive, size in requests:
        if size is not None:
            encoder.header_table_size = size
        head = reader.read(encoder.encode(fixed + [(*field, sensitive) for field in fields]))
        expected: dict[str, str] = {}
        for name, value in fields:
            expected[name] = f"{expected[name]},{value}" if name in expected else value
        assert head.metadata == expected
        assert head.method is method
