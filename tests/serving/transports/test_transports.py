"""What a gRPC client can rely on, whatever transport the server has. Asked by gRPC's own library."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support import until
from tensorflow_serving.apis import prediction_service_pb2

from serving import errors
from serving.server.calls import Streaming, Unary, by_path
from serving.server.health import Health
from serving.server.reflection import Reflection
from serving.server.transports import Options
from serving.server.transports.grpcio import GrpcioTransport
from serving.server.transports.http2 import Http2Transport

TRANSPORTS = {"grpcio": GrpcioTransport, "http2": Http2Transport}


class Service:
    """Methods to ask for."""

    def __init__(self):
        self.calls = []
        self.later = []

    def echo(self, data, call, reply):
        self.calls.append(call)
        reply(data)

    def raising(self, data, call, reply):
        raise errors.NotFound("no such thing: " + "ü" * 3)

    def failing(self, data, call, reply):
        raise ZeroDivisionError("oh")

    def long_text(self, data, call, reply):
        reply(errors.InvalidArgument("x" * 3000))

    def wait(self, data, call, reply):
        self.calls.append(call)
        self.later.append(lambda: reply(data))

    def repeat(self, call, stream):
        self.calls.append(call)
        return Repeater(stream)

    def methods(self):
        kinds = (self.echo, self.raising, self.failing, self.long_text, self.wait)
        return by_path(
            [
                *(Unary(f"/t/{method.__name__}", method) for method in kinds),
                Unary("/t/blocking", self.echo, blocking=True),
                Streaming("/t/repeat", self.repeat),
            ]
        )


class Repeater:
    def __init__(self, stream):
        self.stream = stream

    def received(self, message):
        if message == b"refuse":
            raise errors.OutOfRange("refused")
        for _ in range(2):
            self.stream.send(message)

    def half_closed(self):
        self.stream.send(b"end")
        self.stream.close()


@pytest.fixture
def service():
    return Service()


@pytest.fixture(params=TRANSPORTS)
def transport(request, service):
    health, reflection = Health(), Reflection(prediction_service_pb2.DESCRIPTOR.services_by_name.values())
    health.set_serving(True)
    methods = {**service.methods(), **by_path(health.methods()), **by_path(reflection.methods())}
    made = TRANSPORTS[request.param](methods, ["127.0.0.1:0"], Options())
    made.health = health
    made.start()
    yield made
    for answer in service.later:
        answer()
    made.stop(1)


@pytest.fixture
def channel(transport):
    with grpc.insecure_channel(transport.addresses[0], [("grpc.max_receive_message_length", -1)]) as connected:
        yield connected


@pytest.mark.parametrize("path", ["/t/echo", "/t/blocking"])
@pytest.mark.parametrize("size", [0, 1, 3_000, 9_000_000])
def test_a_message_comes_back(channel, path, size):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert channel.unary_unary(path)(message, timeout=30) == message


def test_a_call_knows_its_caller(channel, service):
    metadata = [("x-request-id", "abc"), ("data-bin", b"\0\xff")]
    channel.unary_unary("/t/echo")(b"", timeout=20, metadata=metadata)
    (call,) = service.calls
    assert call.peer.startswith("127.0.0.1:")
    assert 15 < call.seconds_left() < 21  # gRPC rounds what it sends up
    assert (call.metadata["x-request-id"], call.metadata["data-bin"]) == ("abc", "\0\xff")
    assert call.request_id == "abc"


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/t/raising", grpc.StatusCode.NOT_FOUND, "no such thing: üüü"),
        ("/t/failing", grpc.StatusCode.INTERNAL, "ZeroDivisionError: oh"),
        ("/t/long_text", grpc.StatusCode.INVALID_ARGUMENT, "x" * 1024 + "...TRUNCATED"),
        ("/t/none", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
def test_errors_have_their_status_and_text(channel, path, code, text):
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(path)(b"", timeout=10)
    assert (error.value.code(), error.value.details()) == (code, text)


def test_answers_come_from_any_thread_and_in_any_order(channel, service):
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(channel.unary_unary("/t/wait"), bytes([n]), timeout=20) for n in range(6)]
        until(lambda: len(service.later) == 6)
        for answer in reversed(service.later):
            threading.Thread(target=answer).start()
        assert [future.result() for future in waiting] == [bytes([n]) for n in range(6)]
    service.later.clear()


def test_a_burst_of_calls_is_answered(channel):
    """Several thousand at once, more than are run or read at a time."""
    asked = [channel.unary_unary("/t/echo").future(b"%d" % number, timeout=60) for number in range(5_000)]
    assert [future.result() for future in asked] == [b"%d" % number for number in range(5_000)]


def test_a_cancelled_call_is_told(channel, service):
    future = channel.unary_unary("/t/wait").future(b"", timeout=20)
    until(lambda: service.calls)
    told = threading.Event()
    service.calls[0].on_cancel(told.set)
    future.cancel()
    assert told.wait(10)
    assert service.calls[0].is_over


def test_a_deadline_ends_the_call(channel, service):
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t/wait")(b"", timeout=0.2)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: service.calls[0].is_over)


def test_a_stream_goes_both_ways(channel):
    answers = channel.stream_stream("/t/repeat")(iter([b"a", b"b"]), timeout=10)
    assert list(answers) == [b"a", b"a", b"b", b"b", b"end"]


def test_an_error_ends_a_stream(channel):
    answers = channel.stream_stream("/t/repeat")(iter([b"a", b"refuse"]), timeout=10)
    with pytest.raises(grpc.RpcError) as error:
        list(answers)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "refused")


def test_health_is_told_and_watched(transport, channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "PredictionService", "ModelService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == 1
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="none"), timeout=10)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    transport.health.set_serving(False)
    assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="none"), timeout=20)
    assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()
    unknown.cancel()


def test_reflection_tells_the_services_and_their_messages(channel):
    ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="tensorflow_serving/apis/model.proto"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="none.proto"),
    ]
    services, files, file, error = ask(iter(questions), timeout=20)
    assert "tensorflow.serving.PredictionService" in [s.name for s in services.list_services_response.service]
    assert len(files.file_descriptor_response.file_descriptor_proto) > 5
    assert b"ModelSpec" in file.file_descriptor_response.file_descriptor_proto[0]
    assert error.error_response.error_code == 5


def test_stopping_finishes_what_is_under_way_and_refuses_what_comes(transport, channel, service):
    waiting = channel.unary_unary("/t/wait").future(b"done", timeout=20)
    until(lambda: service.later)
    stopping = threading.Thread(target=transport.stop, args=(15,))
    stopping.start()
    service.later.pop()()
    assert waiting.result() == b"done"
    stopping.join()
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t/echo")(b"", timeout=5)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_an_open_stream_does_not_hold_up_the_end(transport, channel, service):
    going_on = threading.Event()
    stream = channel.stream_stream("/t/repeat")(iter_until(going_on, b"x"), timeout=60)
    assert next(stream) == b"x"
    begin = time.monotonic()
    transport.stop(60)
    assert time.monotonic() - begin < 30
    with pytest.raises(grpc.RpcError) as error:
        list(stream)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAVAILABLE, "The server is stopping")
    until(lambda: service.calls[0].cancelled)
    going_on.set()


def iter_until(event, item):
    """One item, and no end before the event."""
    yield item
    event.wait(90)


def test_a_taken_port_is_told(transport):
    with pytest.raises(errors.Unavailable, match=transport.addresses[0]):
        type(transport)({}, transport.addresses, Options())


def test_unix_sockets_and_several_addresses(service, tmp_path):
    for kind in TRANSPORTS.values():
        path = f"unix:{tmp_path / 'socket'}"
        made = kind(service.methods(), ["127.0.0.1:0", path], Options())
        made.start()
        for address in made.addresses:
            with grpc.insecure_channel(address) as channel:
                assert channel.unary_unary("/t/echo")(b"hi", timeout=10) == b"hi"
        made.stop(1)


def test_a_message_above_the_limit_is_refused(service):
    for kind in TRANSPORTS.values():
        made = kind(service.methods(), ["127.0.0.1:0"], Options(max_request_bytes=1000))
        made.start()
        with grpc.insecure_channel(made.addresses[0]) as channel:
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary("/t/echo")(b"x" * 1001, timeout=10)
            assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert channel.unary_unary("/t/echo")(b"x" * 1000, timeout=10)
        made.stop(1)
