"""The spans of all four clients' calls, and how the server's continue them."""

from __future__ import annotations

import asyncio
import http.server
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import tensorflow as tf
from clients import Awaited, AwaitedRest, Failing, served
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from saved_models import save
from support import until

from serving import errors
from serving.client import AsyncPredictClient, PredictClient, RestPredictClient, Retry
from serving.server import process

X = {"x": np.array([1, 2], np.float32)}
GRPC, REST = [PredictClient, Awaited], [RestPredictClient, AwaitedRest]
FEW = Retry(attempts=3, first=0.001)


@pytest.fixture(scope="module")
def exporter():
    """OpenTelemetry as an application sets it up, which is possible once in a process."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def ended(exporter):
    """The spans that have ended since the test began."""
    exporter.clear()
    return exporter.get_finished_spans


@contextmanager
def collecting():
    """A collector of OpenTelemetry's: its address, and the spans that it was sent."""
    spans = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(span for each in sent.resource_spans for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", spans
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A real server that traces, and its spans."""
    folder = tmp_path_factory.mktemp("models")
    save(folder / "m" / "1", serving_default=(lambda x: {"y": tf.identity(x)}, tf.TensorSpec((None,), name="x")))
    with collecting() as (address, spans), pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        with process.running([str(folder)]) as running:
            yield running, spans


def continuing(spans, client_s):
    """The server's spans right below one of a client."""
    parent = (client_s.context.trace_id.to_bytes(16, "big"), client_s.context.span_id.to_bytes(8, "big"))
    return [span for span in spans if (span.trace_id, span.parent_span_id) == parent]


def address_of(server, kind):
    return server.rest_url.partition("/v1/")[0] if kind in REST else server.grpc_address


@pytest.mark.parametrize("kind", GRPC + REST)
def test_the_server_s_span_continues_the_client_s(traced, ended, kind):
    server, spans = traced
    with (
        trace.get_tracer("test").start_as_current_span("work") as work,
        kind(address_of(server, kind), "m") as client,
    ):
        assert client.predict(X)["y"].tolist() == [1, 2]
    asked, predicted, _ = ended()  # the model's signatures first
    for one in (asked, predicted):
        assert one.kind is trace.SpanKind.CLIENT
        assert one.parent.span_id == work.get_span_context().span_id
        assert one.attributes["server.port"]
        until(lambda one=one: continuing(spans, one))
        assert len(continuing(spans, one)) == 1
    assert predicted.status.is_unset
    told = {key: value for key, value in predicted.attributes.items() if not key.startswith("server.")}
    if kind in REST:
        assert predicted.name == "POST"
        assert told == {
            "http.request.method": "POST",
            "url.full": f"{address_of(server, kind)}/v1/models/m:predict",
            "http.response.status_code": 200,
        }
    else:
        assert predicted.name == "tensorflow.serving.PredictionService/Predict"
        assert told == {
            "rpc.system": "grpc",
            "rpc.service": "tensorflow.serving.PredictionService",
            "rpc.method": "Predict",
            "rpc.grpc.status_code": 0,
        }


@pytest.mark.parametrize("kind", GRPC + REST)
def test_what_a_server_refuses(traced, ended, kind):
    with kind(address_of(traced[0], kind), "none", check=False) as client, pytest.raises(errors.NotFound) as refused:
        client.status()
    (span,) = ended()
    assert not span.status.is_ok
    assert span.status.description == refused.value.message
    told = {key: span.attributes[key] for key in span.attributes if "status_code" in key or "error" in key}
    expected = (
        {"http.response.status_code": 404, "error.type": "404"}
        if kind in REST
        else {"rpc.grpc.status_code": 5, "error.type": "NOT_FOUND"}
    )
    assert told == expected


@pytest.mark.parametrize("kind", GRPC)
def test_attempts_that_failed_are_events_of_one_span(ended, kind):
    answer = Failing(grpc.StatusCode.UNAVAILABLE, 2)
    with served(answer, kind, retry=FEW) as client:
        client.predict(X)
    (span,) = ended()
    assert (span.attributes["rpc.grpc.status_code"], span.status.is_unset) == (0, True)
    assert [(event.name, event.attributes["error.type"]) for event in span.events] == [("retry", "UNAVAILABLE")] * 2
    assert len({metadata["traceparent"] for _, metadata in answer.asked}) == 1


@pytest.mark.parametrize("kind", REST)
def test_nobody_there(ended, kind):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        kind(f"http://me:secret@127.0.0.1:{port}", "m", retry=FEW) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.status()
    (span,) = ended()
    assert len(span.events) == 2
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["error.type"] == "UNAVAILABLE"
    assert span.attributes["url.full"] == f"http://127.0.0.1:{port}/v1/models/m"


@pytest.mark.parametrize("kind", GRPC + REST)
def test_to_wait_for_a_server_leaves_no_spans(traced, ended, kind):
    with kind(address_of(traced[0], kind), "m") as client:
        assert client.wait_until_ready() == 1
    assert ended() == ()


def test_a_call_that_is_given_up_has_an_end(ended):
    async def give_up():
        async with AsyncPredictClient(f"127.0.0.1:{silent.getsockname()[1]}", "m") as client:
            await asyncio.wait_for(client.status(), 0.05)

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())
    (span,) = ended()
    assert (span.attributes["error.type"], span.attributes["rpc.grpc.status_code"]) == ("CANCELLED", 1)


@pytest.mark.parametrize("kind", GRPC)
def test_the_calls_of_a_map_are_in_the_caller_s_trace(traced, ended, kind):
    with (
        trace.get_tracer("test").start_as_current_span("work") as work,
        kind(traced[0].grpc_address, "m") as client,
    ):
        assert len(list(client.map([np.float32(1)] * 4, batch_size=1))) == 4
    *calls, _ = ended()
    assert len(calls) >= 5
    assert {span.parent.span_id for span in calls} == {work.get_span_context().span_id}


ASKS = """
import sys
from serving.client import PredictClient, RestPredictClient, ServingError

for kind, address in (PredictClient, "127.0.0.1:1"), (RestPredictClient, "http://127.0.0.1:1"):
    with kind(address, "m", retry=None) as client:
        try:
            client.status()
        except ServingError as error:
            print(type(error).__name__)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_opentelemetry_is_not_imported_for_applications_that_have_not():
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, check=True)
    assert done.stdout == "Unavailable\nUnavailable\n[]\n"
