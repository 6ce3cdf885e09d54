from __future__ import annotations

import logging

import pytest

from serving.errors import Internal, ResourceExhausted, Unauthenticated
from serving.server.calls import Call, Streaming, Unary, by_path
from serving.server.flags import Flags
from serving.server.security.gate import Gate, client_of, from_flags, gated
from serving.server.security.limits import ConcurrencyLimit, RateLimit
from serving.server.security.tokens import Tokens

PREDICT, STREAM, HEALTH = "/x.Service/Predict", "/x.Service/Stream", "/grpc.health.v1.Health/Check"


class Service:
    """Answers when it is told to."""

    def __init__(self):
        self.replies, self.outgoing = [], None

    def answer(self, request, call, reply):
        if request == b"raise":
            raise Internal("broken")
        self.replies.append(reply)

    def open(self, call, outgoing):
        self.outgoing = outgoing
        return self

    def received(self, message):
        if message == b"raise":
            raise Internal("broken")

    def half_closed(self):
        self.outgoing.close()


class Stream:
    sent, closed = (), False

    def send(self, message):
        self.sent = (*self.sent, message)

    def close(self, error=None):
        self.closed = True


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def methods(service):
    gate = Gate(concurrency=ConcurrencyLimit(1))
    unary = [Unary(path, service.answer, blocking=True) for path in (PREDICT, HEALTH)]
    return gated(by_path([*unary, Streaming(STREAM, service.open)]), gate)


def ask(methods, path=PREDICT, request=b"", answers=None):
    methods[path].answer(request, Call(peer="1.2.3.4:5"), (answers if answers is not None else []).append)


def test_a_place_is_given_back_before_the_answer_is_sent(methods, service):
    answers = []
    ask(methods, answers=answers)
    with pytest.raises(ResourceExhausted):
        ask(methods)
    service.replies.pop()(b"done")
    ask(methods)
    assert answers == [b"done"]
    assert methods[PREDICT].blocking


def test_a_place_is_given_back_after_an_error(methods):
    for _ in range(3):
        with pytest.raises(Internal):
            ask(methods, request=b"raise")


def closed(call, incoming):
    incoming.half_closed()


def cancelled(call, incoming):
    call.cancel()


def failed(call, incoming):
    with pytest.raises(Internal):
        incoming.received(b"raise")


@pytest.mark.parametrize("end", [closed, cancelled, failed])
def test_a_stream_holds_a_place_until_it_ends(methods, service, end):
    call, outgoing = Call(peer="1.2.3.4:5"), Stream()
    incoming = methods[STREAM].open(call, outgoing)
    service.outgoing.send(b"hello")
    with pytest.raises(ResourceExhausted):
        methods[STREAM].open(Call(peer="1.2.3.4:6"), Stream())
    end(call, incoming)
    methods[STREAM].open(Call(peer="1.2.3.4:6"), Stream())
    assert outgoing.sent == (b"hello",)
    with pytest.raises(ResourceExhausted):  # the end of the first gave back one place, not two
        call.cancel()
        ask(methods)


def test_health_is_free(methods):
    for _ in range(5):
        ask(methods, HEALTH)


def test_an_open_gate_changes_nothing():
    methods = by_path([Unary(PREDICT, print)])
    assert gated(methods, Gate()) is methods


def test_who_has_a_token_is_one_client_wherever_they_are(tmp_path):
    (tmp_path / "tokens").write_text("one\ntwo\n")
    gate = Gate(Tokens(tmp_path / "tokens"), RateLimit(0.001, 1))
    gate.admit(Call(peer="1.1.1.1:1", metadata={"authorization": "Bearer one"}))
    gate.admit(Call(peer="1.1.1.1:1", metadata={"authorization": "Bearer two"}))
    with pytest.raises(ResourceExhausted):
        gate.admit(Call(peer="2.2.2.2:2", metadata={"authorization": "Bearer one"}))
    with pytest.raises(Unauthenticated):
        gate.admit(Call(peer="1.1.1.1:1"))


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("127.0.0.1:4711", "127.0.0.1"),
        ("[::ffff:10.0.0.7]:80", "10.0.0.7"),
        ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
        ("[fe80::1%eth0]:80", "fe80::/64"),
        ("unix:", "unix"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_without_its_port(peer, client):
    assert client_of(peer) == client


def test_tokens_in_the_open_are_warned_of(tmp_path, caplog):
    (tmp_path / "tokens").write_text("one\n")
    flags = {"models": tmp_path, "auth_token_file": tmp_path / "tokens", "rest_api_port": 8501}
    keys = tmp_path / "ssl.config"
    with caplog.at_level(logging.WARNING):
        for safe in ({}, {"bind_address": "0.0.0.0", "ssl_config_file": keys, "rest_api_ssl": True}):
            assert not from_flags(Flags(**flags, **safe)).is_open
        assert caplog.records == []
        from_flags(Flags(**flags, bind_address="127.0.0.1,0.0.0.0", ssl_config_file=keys))
    assert "Tokens travel readable" in caplog.text


def test_the_gate_is_open_unless_asked_for(tmp_path):
    assert from_flags(Flags(models=tmp_path)).is_open
    assert not from_flags(Flags(models=tmp_path, max_requests_per_second=5.0)).is_open
    assert not from_flags(Flags(models=tmp_path, max_concurrent_requests=5)).is_open
