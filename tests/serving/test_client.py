from __future__ import annotations

import socket
from concurrent import futures
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from support import CLASS_NAMES

from serving import errors, wire
from serving.client import PredictClient, pictures
from serving.wire import messages_pb2

PICTURES = np.zeros((2, 28, 28, 1), np.uint8)


def test_predicts(client):
    outputs = client.predict({"images": PICTURES})
    assert outputs.version == 1
    assert outputs["probabilities"].shape == (2, 3)
    assert outputs["top_labels"][0, 0].decode() == CLASS_NAMES[0]
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_nested_lists_and_chosen_outputs(client):
    with pytest.raises(errors.InvalidArgument, match="uint8 but int64"):
        client.predict({"images": PICTURES.tolist()})
    assert list(client.predict({"images": PICTURES}, outputs=["top_scores"], version=1)) == ["top_scores"]


def test_tells_what_the_model_takes_and_gives(client):
    signature = client.signatures()["serving_default"]
    assert signature.inputs == {"images": ("uint8", (None, 28, 28, 1))}
    assert signature.outputs["top_labels"] == ("string", (None, 3))
    assert client.signatures()["serving_bytes"].inputs == {"image_bytes": ("string", (None,))}


def test_status(client):
    assert client.status() == [(1, "AVAILABLE", "")]
    assert client.wait_until_ready(timeout=1) == 1


@pytest.mark.parametrize(
    ("inputs", "options", "kind"),
    [
        ({"images": PICTURES.astype(float)}, {}, errors.InvalidArgument),
        ({"images": PICTURES[:, 1:]}, {}, errors.InvalidArgument),
        ({"images": PICTURES}, {"version": 5}, errors.NotFound),
        ({"images": PICTURES}, {"signature": "none"}, errors.FailedPrecondition),
        ({"images": PICTURES.astype(complex)}, {}, errors.InvalidArgument),
    ],
)
def test_each_status_is_an_exception_of_its_own(client, inputs, options, kind):
    with pytest.raises(kind):
        client.predict(inputs, **options)


@pytest.mark.parametrize("timeout", [None, 0, -1, float("inf"), float("nan"), "5"])
def test_there_is_no_call_without_a_timeout(timeout):
    with pytest.raises(ValueError, match="A timeout is a number of seconds above 0"):
        PredictClient("localhost:1", "m", timeout=timeout)


def test_nobody_there_is_told_with_the_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        PredictClient(address, "m") as client,
        pytest.raises(errors.Unavailable, match=f"No server answers at {address}"),
    ):
        client.predict({"images": PICTURES})


def test_a_server_that_never_answers_runs_into_the_timeout():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        PredictClient(f"127.0.0.1:{silent.getsockname()[1]}", "m", timeout=0.3) as client,
        pytest.raises(errors.DeadlineExceeded, match="within the timeout"),
    ):
        client.status()


def test_waiting_ends_with_the_reason(server):
    with PredictClient(server.grpc_address, "none") as client, pytest.raises(errors.NotFound, match="none"):
        client.wait_until_ready(timeout=0.3)


def test_a_closed_client_says_so(server):
    with PredictClient(server.grpc_address, "patterns") as client:
        pass
    with pytest.raises(errors.Cancelled, match="closed"):
        client.predict({"images": PICTURES})


@contextmanager
def served(answer):
    """A server that gives `answer(request bytes, context)` to every call; yields a client of it."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Handler()], options=wire.CHANNEL_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with PredictClient(f"127.0.0.1:{port}", "m") as client:
            yield client
    finally:
        server.stop(None).wait()


def test_requests_and_answers_beyond_4_mib():
    def echo(request, context):
        response = messages_pb2.PredictResponse()
        response.outputs["y"].CopyFrom(messages_pb2.PredictRequest.FromString(request).inputs["x"])
        return response.SerializeToString()

    big = np.random.default_rng(0).random(3_000_000)
    with served(echo) as client:
        np.testing.assert_array_equal(client.predict({"x": big})["y"], big)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_status_becomes_one_of_our_exceptions(code):
    def abort(request, context):
        context.abort(code, "as told")

    with served(abort) as client, pytest.raises(errors.ServingError) as error:
        client.predict({"images": PICTURES})
    assert type(error.value).code == code
    assert "as told" in str(error.value)
    assert (type(error.value) is errors.ServingError) == (code is grpc.StatusCode.UNKNOWN)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Graph execution error:\n\n{{function_node a}} {{node b}} Input is empty.\n\t [[{{node c}}]]\n\t [[d]]",
            "Input is empty.",
        ),
        ("Unknown image file format.\n\t [[{{node a}}]]", "Unknown image file format."),
        ("input size does not match signature", "input size does not match signature"),
    ],
)
def test_a_refusal_is_told_without_the_graphs_names(message, reason):
    assert pictures._first_line(errors.InvalidArgument(message)) == reason
