"""Methods whose calls are counted, logged and traced."""

from __future__ import annotations

import gc
import logging
import threading

import prometheus
import pytest

from serving import errors
from serving.server.calls import Call, Reply, Unary
from serving.server.metrics import Metrics
from serving.server.observer import Observer
from serving.server.request_log import RequestLog

PATH = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def spans():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def observer(spans):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from serving.server.tracing import Tracing

    return Observer(Metrics(), RequestLog(), Tracing(SimpleSpanProcessor(spans)))


def ask(observer: Observer, answer, call: Call) -> object:
    """What a client gets of a method that `answer` answers."""
    replies, replied = [], threading.Event()

    def reply(response: object) -> None:
        replies.append(response)
        replied.set()

    observer.observed(Unary(PATH, answer)).answer(b"12345", call, reply)
    assert replied.wait(30)
    (response,) = replies
    return response


def test_a_success_from_another_thread(observer, spans, caplog):
    def answer(request: bytes, call: Call, reply: Reply) -> None:
        call.model, call.version, call.signature = "m", 3, "serving_default"
        call.span.event("queue", seconds=0.001)
        threading.Thread(target=reply, args=(b"ab",)).start()

    assert ask(observer, answer, Call()) == b"ab"
    families = prometheus.parse(observer.metrics.page())
    labels = {"model": "m", "version": "3", "method": "Predict", "protocol": "grpc"}
    assert families["cnn_tf_requests_total"].value(**labels, status="OK") == 1
    assert families["cnn_tf_received_bytes_total"].value(**labels) == 5
    assert families["cnn_tf_sent_bytes_total"].value(**labels) == 2
    assert caplog.records == []


def test_nothing_is_left_for_the_garbage_collector():
    observer = Observer(Metrics(), RequestLog())
    method = observer.observed(Unary(PATH, lambda request, call, reply: reply(b"ab")))
    gc.collect()
    for _ in range(100):
        method.answer(b"12345", Call(), lambda response: None)
    assert gc.collect() < 100


def test_an_error_is_counted_logged_and_traced(observer, spans, caplog):
    def answer(request: bytes, call: Call, reply: Reply) -> None:
        call.model = "m"
        raise errors.NotFound("Servable not found for request: Latest(m)")

    response = ask(observer, answer, Call(metadata={"x-request-id": "r1"}))
    assert isinstance(response, errors.NotFound)
    families = prometheus.parse(observer.metrics.page())
    assert families[":tensorflow:serving:request_count"].value(model_name="m", status="NOT_FOUND") == 1
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.WARNING, "GRPC Predict")
    assert line.fields.items() >= {"id": "r1", "model": "m", "status": "NOT_FOUND", "error": response.message}.items()
    (span,) = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == line.fields["trace_id"]
    assert span.attributes["rpc.grpc.status_code"] == 5
    assert span.attributes["cnn_tf.model"] == "m"


def test_without_tracing_there_is_no_span():
    def answer(request: bytes, call: Call, reply: Reply) -> None:
        assert call.span is None
        reply(b"")

    assert ask(Observer(Metrics(), RequestLog()), answer, Call()) == b""
