"""HTTP itself: headers, limits, slow and vanishing clients, connections."""

from __future__ import annotations

import gzip
import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import until

from serving import errors
from serving.server.rest import protocol

ONE = json.dumps({"instances": [1]}).encode()
HEAD = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\n"


def connected(ask):
    return socket.create_connection(("127.0.0.1", ask.port), 60)


def received(connection):
    """All that comes until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_headers_of_an_answer(ask):
    response = ask.predict(ONE)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(response.content))
    assert not {"server", "access-control-allow-origin"} & set(response.headers)


def test_request_ids(ask):
    assert ask.predict(ONE, headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"
    assert ask.manager.servable.calls[-1].request_id == "mine"
    made = {ask.predict(ONE, headers={"X-Request-Id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 200)}
    assert len(made) == 3


@pytest.mark.parametrize(
    ("origin", "status"), [("http://a.example", 200), ("https://a.example", 200), ("null", 400), (None, 400)]
)
def test_options(ask, origin, status):
    headers = {"Origin": origin} if origin else {}
    for path in ("/v1/models/model:predict", "/v1/anything"):
        response = ask("OPTIONS", path, headers=headers)
        assert (response.status_code, response.content) == (status, b"")


def test_cors(serve):
    with serve(cors=True, metrics=lambda: "x") as ask:
        for response in (
            ask.predict(ONE),
            ask("GET", "/v1/none"),
            ask("OPTIONS", "/v1/", headers={"Origin": "http://a"}),
        ):
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["access-control-allow-methods"] == "POST, GET"
            assert response.headers["access-control-allow-headers"] == "Content-Type"
        assert "access-control-allow-origin" not in ask("GET", "/monitoring/prometheus/metrics").headers


def test_metrics(serve, ask):
    with serve(metrics=lambda: "a 1\n", metrics_path="/m") as measured:
        response = measured("GET", "/m")
        assert (response.status_code, response.text, response.headers["content-type"]) == (200, "a 1\n", "text/plain")
        assert measured("GET", "/m?x=1").status_code == 400
        assert measured("POST", "/m", b"").status_code == 404
    assert ask("GET", "/monitoring/prometheus/metrics").status_code == 404


def test_the_content_type_of_a_request_is_not_looked_at(ask):
    assert ask.predict(ONE, headers={"Content-Type": "image/png"}).json() == {"predictions": [1]}


def test_gzip_requests(ask):
    headers = {"Content-Encoding": "gzip"}
    assert ask.predict(gzip.compress(ONE), headers=headers).json() == {"predictions": [1]}
    bomb = gzip.compress(b" " * (101 * 2**20), 9)
    assert ask.predict(bomb, headers=headers).status_code == 413
    assert ask.predict(ONE, headers=headers).status_code == 400


def test_gzip_answers(ask):
    body = {"signature_name": "id_int32", "instances": list(range(20_000))}
    plain = ask.predict(body, headers={"Accept-Encoding": "identity"})
    packed = ask.predict(body, headers={"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert "content-encoding" not in ask.predict(ONE, headers={"Accept-Encoding": "gzip"}).headers


def test_chunked_bodies_and_pipelined_requests(ask):
    with connected(ask) as connection:
        chunks = b"".join(b"%x\r\n%s\r\n" % (1, ONE[i : i + 1]) for i in range(len(ONE)))
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ONE) + ONE)
        assert received(connection).count(b'"predictions": [1.0') == 2


@pytest.mark.parametrize("then", [b"GARBAGE\r\n\r\n", HEAD + b"a b: c\r\n\r\n"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_is_no_http_spoils_no_request_before_it(ask, count, then):
    good = HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE
    with connected(ask) as connection:
        connection.sendall(good * count + then)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b'"predictions": [1.0') == count
    assert answer.rindex(b"HTTP/1.1 400 ") > answer.rindex(b"HTTP/1.1 200 ")


def test_a_body_that_is_no_http_is_refused_at_once(ask):
    with connected(ask) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nGARBAGE\r\n")
        assert received(connection).startswith(b"HTTP/1.1 400 ")


def test_an_old_client_is_not_told_to_continue(ask):
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Expect: 100-continue\r\n"
    with connected(ask) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"100 Continue" not in answer


def test_bodies_that_are_too_large(serve):
    with serve(max_body_bytes=1000) as ask:
        with connected(ask) as connection:  # refused before it is sent
            connection.sendall(HEAD + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in answer
        assert b"may have 1000 bytes at most" in answer
        with connected(ask) as connection:  # and where it is not announced, as soon as it is known
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b" " * 2000)
            assert received(connection).startswith(b"HTTP/1.1 413 ")
        assert ask.predict(b" " * 2000).status_code == 413
        assert ask.predict(ONE).status_code == 200


def test_expect_continue(ask):
    with connected(ask) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(ONE))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(ONE)
        assert b'"predictions"' in received(connection)


@pytest.mark.parametrize(
    "head", [b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, b"a b c d\r\n\r\n"]
)
def test_endless_and_broken_heads(ask, head):
    with connected(ask) as connection:
        connection.sendall(head)
        assert received(connection).startswith(b"HTTP/1.1 400 ")


@pytest.fixture
def impatient(monkeypatch):
    for name in ("head_seconds", "body_seconds", "answer_seconds"):
        monkeypatch.setattr(protocol.LimitedProtocol, name, 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begin", [b"G", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{"])
def test_slow_clients_are_left(ask, begin):
    with connected(ask) as connection:
        connection.sendall(begin)
        assert received(connection) == b""


@pytest.mark.usefixtures("impatient")
def test_a_slow_model_is_no_slow_client(ask):
    with connected(ask) as connection:
        ask.manager.servable.open.clear()
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ONE) + ONE)
        with connected(ask) as slow:  # comes later, and is left: so long the other has waited too
            slow.sendall(b"G")
            assert received(slow) == b""
        ask.manager.servable.open.set()
        assert b'"predictions"' in received(connection)


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_nobody_takes_is_dropped(serve):
    told = []
    with serve(answered=lambda *words: told.append(words)) as ask, connected(ask) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"signature_name": "id_int32", "instances": [[12345678] * 1_000_000]}).encode()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: not ask.server._server.server_state.connections and told)


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([HEAD, b"\r\n\r\n", b"Content-Length: 5\r\n", ONE]), max_size=6)
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_stop_the_server(ask, parts):
    with connected(ask) as connection:
        connection.sendall(b"".join(parts))
        connection.shutdown(socket.SHUT_WR)
    assert ask.predict(ONE).status_code == 200


def test_timeout(serve):
    with serve(timeout_seconds=0.05) as ask:
        ask.manager.servable.open.clear()
        response = ask.predict(ONE)
        assert (response.status_code, response.json()) == (504, {"error": "Deadline exceeded"})
        call = ask.manager.servable.calls[-1]
        assert call.is_over
        assert call.cancelled
        assert ask.manager.lending  # the model still runs
        ask.manager.servable.open.set()
        until(lambda: not ask.manager.lending)


def test_a_client_that_leaves(serve):
    told = []
    with serve(answered=lambda *words: told.append(words)) as ask:
        ask.manager.servable.open.clear()
        before = len(ask.manager.servable.calls)
        with connected(ask) as connection:
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE)
            until(lambda: len(ask.manager.servable.calls) > before)
        until(lambda: ask.manager.servable.calls[-1].cancelled)
        ask.manager.servable.open.set()
        until(lambda: not ask.manager.lending)
        until(lambda: [words[2] for words in told] == ["CANCELLED"])


def test_the_gate_comes_before_the_body(serve):
    left = []

    def gate(call):
        assert call.peer.startswith("127.0.0.1:")
        if call.metadata.get("authorization") != "Bearer me":
            raise errors.Unauthenticated("Who are you?")
        return lambda: left.append(call)

    with serve(gate=gate) as ask:
        assert ask.predict(ONE, headers={"Authorization": "Bearer me"}).status_code == 200
        assert len(left) == 1
        response = ask.predict(ONE)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert ask("GET", "/v1/health/ready").status_code == 200
        assert ask("OPTIONS", "/v1/models", headers={"Origin": "http://a.example"}).status_code == 200
        with connected(ask) as connection:
            connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
            assert received(connection).startswith(b"HTTP/1.1 401 ")


def test_what_is_told_of_requests(serve):
    told = []
    with serve(answered=lambda *words: told.append(words), metrics=lambda: "") as ask:
        ask.predict(ONE, headers={"X-Request-Id": "r"})
        ask.predict(b"{}")
        ask("POST", "/v1/models/none:classify", {"examples": [{}]})
        ask("GET", "/v1/models/model")
        ask("GET", "/v1/x?y")
        ask("GET", "/v1/health/live")
        ask("GET", "/monitoring/prometheus/metrics")
    assert [(words[0].model, words[0].version, *words[1:3]) for words in told] == [
        ("model", 1, "predict", "OK"),
        ("model", None, "predict", "INVALID_ARGUMENT"),
        ("none", None, "classify", "NOT_FOUND"),
        ("model", None, "", "OK"),
        ("", None, "", "INVALID_ARGUMENT"),
    ]
    assert told[0][0].request_id == "r"
    assert told[0][5] == len(ONE)
    assert told[1][4] == "Missing 'inputs' or 'instances' key"


def test_a_refusal_says_when_to_try_again(serve):
    def gate(call):
        raise errors.ResourceExhausted("Too many", retry_seconds=1.2)

    with serve(gate=gate) as ask:
        response = ask.predict(ONE)
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")


def test_requests_are_traced(serve):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from serving.server.tracing import Tracing

    exporter = InMemorySpanExporter()
    with serve(trace=Tracing(SimpleSpanProcessor(exporter)).http) as ask:
        ask.predict(ONE, headers={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"})
        ask("GET", "/v1/models/none/versions/3")
        ask("GET", "/v1/health/live")
    first, second = exporter.get_finished_spans()
    assert (first.name, second.name) == ("POST /v1/models/{model}:predict", "GET /v1/models/{model}/versions/{version}")
    assert f"{first.context.trace_id:032x}" == "1" * 32
    assert first.attributes["cnn_tf.model"] == "model"
    assert (first.attributes["http.response.status_code"], second.attributes["http.response.status_code"]) == (200, 404)


def test_a_fault_of_ours_is_told_without_a_traceback(serve, caplog):
    def broken():
        raise RuntimeError("a bug")

    with serve(metrics=broken) as ask:
        response = ask("GET", "/monitoring/prometheus/metrics")
    assert (response.status_code, response.json()) == (500, {"error": "RuntimeError: a bug"})
    assert "GET /monitoring/prometheus/metrics failed" in caplog.text


def test_many_idle_connections_harm_nobody(ask):
    idle = [connected(ask) for _ in range(200)]
    assert ask.predict(ONE).status_code == 200
    for connection in idle:
        connection.close()
