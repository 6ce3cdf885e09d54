from __future__ import annotations

import sys

import pytest

from serving.errors import InvalidArgument
from serving.server import tracing
from serving.server.calls import Call

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def traced():
    """Tracing, and the spans that have ended."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    made = tracing.Tracing(SimpleSpanProcessor(exporter))
    yield made, exporter.get_finished_spans
    made.close()


def test_a_call_continues_the_client_s_trace(traced):
    made, ended = traced
    span = made.rpc(Call(peer="10.0.0.1:4711", metadata={"traceparent": PARENT}), PREDICT)
    span.model("m", 3, "serving_default")
    span.event("queue", seconds=0.001)
    span.event("run", seconds=0.002, batch_size=8)
    span.end(0)
    (one,) = ended()
    assert one.name == "tensorflow.serving.PredictionService/Predict"
    assert f"{one.context.trace_id:032x}" == span.trace_id == PARENT.split("-")[1]
    assert f"{one.parent.span_id:016x}" == PARENT.split("-")[2]
    assert one.kind.name == "SERVER"
    assert one.attributes == {
        "rpc.system": "grpc", "rpc.service": "tensorflow.serving.PredictionService", "rpc.method": "Predict",
        "rpc.grpc.status_code": 0, "client.address": "10.0.0.1", "client.port": 4711,
        "cnn_tf.model": "m", "cnn_tf.version": 3, "cnn_tf.signature": "serving_default",
    }  # fmt: skip
    assert [(event.name, dict(event.attributes)) for event in one.events] == [
        ("queue", {"seconds": 0.001}), ("run", {"seconds": 0.002, "batch_size": 8}),
    ]  # fmt: skip


@pytest.mark.parametrize(("code", "failed"), [(0, False), (3, False), (5, False), (13, True), (14, True)])
def test_only_the_server_s_faults_are_errors(traced, code, failed):
    made, ended = traced
    made.rpc(Call(), PREDICT).end(code, "why")
    assert (ended()[0].status.status_code.name == "ERROR") == failed


def test_http(traced):
    made, ended = traced
    made.http(Call(), "POST", "/v1/models/m:predict", "/v1/models/{model}:predict").end(503, "full")
    made.http(Call(peer="unix:"), "GET", "/nonsense", "").end(404)
    good, bad = ended()
    assert (good.name, bad.name) == ("POST /v1/models/{model}:predict", "GET")
    assert good.attributes == {
        "http.request.method": "POST", "url.path": "/v1/models/m:predict",
        "http.route": "/v1/models/{model}:predict", "http.response.status_code": 503,
    }  # fmt: skip
    assert good.status.description == "full"
    assert bad.status.status_code.name == "UNSET"


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-00", PARENT + "\x00"])
def test_a_wrong_parent_begins_a_new_trace(traced, parent):
    made, ended = traced
    made.rpc(Call(metadata={"traceparent": parent}), PREDICT).end(0)
    assert ended()[0].parent is None


@pytest.mark.parametrize(("variable", "name"), [(None, "cnn-tf-serving"), ("mine", "mine")])
def test_the_service_has_a_name(monkeypatch, variable, name):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    if variable:
        monkeypatch.setenv("OTEL_SERVICE_NAME", variable)
    exporter = InMemorySpanExporter()
    tracing.Tracing(SimpleSpanProcessor(exporter)).rpc(Call(), PREDICT).end(0)
    assert exporter.get_finished_spans()[0].resource.attributes["service.name"] == name


def test_there_is_none_unless_it_is_wanted(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert tracing.start() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:1")
    started = tracing.start()
    assert started is not None
    started.close()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(InvalidArgument, match=r'pip install "cnn-tf\[tracing\]"'):
        tracing.start(wanted=True)
