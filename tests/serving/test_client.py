"""Both clients, against real servers."""

from __future__ import annotations

import asyncio
import socket
import time

import grpc
import numpy as np
import pytest
from clients import Failing, echo, served
from support import CLASS_NAMES

from serving import errors
from serving.client import AsyncPredictClient, PredictClient, Refused, Retry
from serving.client.steps import Failed

SAFE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
PICTURES = np.zeros((2, 28, 28, 1), np.uint8)


@pytest.fixture
def client(server, connect):
    with connect(server.grpc_address, "patterns") as connected:
        yield connected


def test_predicts(client):
    outputs = client.predict({"images": PICTURES})
    assert outputs.version == 1
    assert outputs["probabilities"].shape == (2, 3)
    assert outputs["top_labels"][0, 0].decode() == CLASS_NAMES[0]
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_classifies(client):
    with pytest.raises(errors.InvalidArgument, match="Picture 0 of the batch is no JPEG"):
        client.classify([b"no picture"])


def test_nested_lists_and_chosen_outputs(client):
    expected = client.predict({"images": PICTURES})["logits"]
    np.testing.assert_array_equal(client.predict({"images": PICTURES.tolist()})["logits"], expected)
    with pytest.raises(errors.InvalidArgument, match="uint8 .batch, 28, 28, 1.. Received: float64 .2, 28, 28, 1."):
        client.predict({"images": (PICTURES + 0.5).tolist()})
    assert list(client.predict({"images": PICTURES}, outputs=["top_scores"], version=1).arrays) == ["top_scores"]


def test_tells_what_the_model_takes_and_gives(client):
    signature = client.metadata()["serving_default"]
    assert signature.inputs == {"images": ("uint8", (None, 28, 28, 1))}
    assert signature.outputs["top_labels"] == ("string", (None, 3))
    assert client.metadata()["serving_bytes"].inputs == {"image_bytes": ("string", (None,))}


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


def test_nobody_there_is_told_with_the_address(connect):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        connect(address, "m") as client,
        pytest.raises(errors.Unavailable, match=f"No server answers at {address}"),
    ):
        client.predict({"images": PICTURES})


def test_a_server_that_never_answers_runs_into_the_timeout(connect):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        connect(f"127.0.0.1:{silent.getsockname()[1]}", "m", timeout=0.3) as client,
        pytest.raises(errors.DeadlineExceeded, match="within the timeout"),
    ):
        client.status()


def test_waiting_ends_with_the_reason(server, connect):
    with connect(server.grpc_address, "none") as client, pytest.raises(errors.NotFound, match="none"):
        client.wait_until_ready(timeout=0.3)


def test_a_closed_client_says_so(server, connect):
    with connect(server.grpc_address, "patterns") as client:
        client.status()
        client.close()
        with pytest.raises(errors.Cancelled, match="closed"):
            client.predict({"images": PICTURES})


def test_closing_cancels_what_is_under_way():
    async def ask(silent):
        client = AsyncPredictClient(f"127.0.0.1:{silent.getsockname()[1]}", "m")
        asking = asyncio.create_task(client.status())
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            await client.close()
            await asking

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(errors.Cancelled, match="closed"):
        asyncio.run(ask(silent))


def test_a_task_that_is_cancelled_stays_so():
    async def ask(address):
        async with AsyncPredictClient(address, "m") as client:
            await asyncio.wait_for(client.status(timeout=60), 0.1)

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask(f"127.0.0.1:{silent.getsockname()[1]}"))


def test_many_calls_at_once_in_one_loop(server):
    async def ask():
        async with AsyncPredictClient(server.grpc_address, "patterns") as client:
            return await asyncio.gather(*[client.predict({"images": PICTURES}) for _ in range(20)])

    assert [answer["probabilities"].shape for answer in asyncio.run(ask())] == [(2, 3)] * 20


def test_both_clients_have_the_same_methods():
    def methods(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(PredictClient) == methods(AsyncPredictClient)
    for name in ("predict", "map", "classify", "metadata", "status", "wait_until_ready", "reload"):
        assert getattr(PredictClient, name).__doc__ == getattr(AsyncPredictClient, name).__doc__


def test_requests_and_answers_beyond_4_mib(connect):
    big = np.random.default_rng(0).random(3_000_000)
    with served(echo, connect) as client:
        np.testing.assert_array_equal(client.predict({"x": big})["y"], big)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_status_becomes_one_of_our_exceptions(code):
    with served(Failing(code, 99)) as client, pytest.raises(errors.ServingError) as error:
        client.predict({"images": PICTURES})
    assert type(error.value).code == code
    assert "as told" in str(error.value)
    assert (type(error.value) is errors.ServingError) == (code is grpc.StatusCode.UNKNOWN)


@pytest.mark.parametrize("code", SAFE)
def test_asks_again_where_that_is_safe(connect, code):
    answer = Failing(code, 3)
    with served(answer, connect, timeout=20) as client:
        assert client.predict({"x": PICTURES}, request_id="mine")["y"].shape == PICTURES.shape
    assert len(answer.asked) == 4
    assert {metadata["x-request-id"] for _, metadata in answer.asked} == {"mine"}
    assert all(10 < seconds_left <= 20 for seconds_left, _ in answer.asked)


def test_all_attempts_share_the_deadline_of_the_call():
    with PredictClient("host:1", "m", timeout=20, check=False) as client:
        steps = client._core.predict({"x": PICTURES})
    first, pause = next(steps), steps.send(Failed(grpc.StatusCode.UNAVAILABLE, ""))
    assert first.seconds <= 20
    assert 0 <= pause.seconds <= 0.1
    assert steps.send(None).seconds < first.seconds


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED")]
)
def test_asks_nothing_else_again(code):
    answer = Failing(code, 1)
    with served(answer) as client, pytest.raises(errors.ServingError):
        client.predict({"x": PICTURES})
    assert len(answer.asked) == 1


def test_retries_can_be_switched_off_and_are_limited(connect):
    for retry, attempts in ((None, 1), (Retry(attempts=2, first=0.001), 2)):
        answer = Failing(grpc.StatusCode.UNAVAILABLE, 99)
        with served(answer, connect, retry=retry) as client, pytest.raises(errors.Unavailable) as error:
            client.predict({"x": PICTURES})
        assert len(answer.asked) == attempts
        assert error.value.request_id == answer.asked[0][1]["x-request-id"]


def test_no_pause_goes_beyond_the_deadline():
    answer = Failing(grpc.StatusCode.UNAVAILABLE, 999)
    begin = time.monotonic()
    with (
        served(answer, timeout=0.5, retry=Retry(999, first=0.2, longest=60)) as client,
        pytest.raises(errors.ServingError),
    ):
        client.predict({"x": PICTURES})
    assert time.monotonic() - begin < 5
    assert len(answer.asked) > 1


def test_the_pauses_grow_up_to_the_longest():
    error = errors.Unavailable("")
    for attempts, most in ((1, 0.1), (2, 0.2), (5, 1.0), (2000, 1.0)):
        pauses = [Retry(9999, 0.1, 1.0).pause(error, attempts, 60) for _ in range(300)]
        assert most / 2 < max(pauses) <= most
        assert min(pauses) < most / 4
    with pytest.raises(ValueError, match="attempts >= 1"):
        Retry(0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Graph execution error:\n\n{{function_node a}} {{node b}} Input is empty.\n\t [[{{node c}}]]\n\t [[d]]",
            "Input is empty.",
        ),
        ("Unknown image file format.\n\t [[{{node a}}]]", "Unknown image file format."),
        ("input size does not match signature", "input size does not match signature"),
        ("assertion failed: [Too many pixels]\n\t [[{{node a}}]]", "Too many pixels"),
    ],
)
def test_a_refusal_is_told_without_the_graphs_names(message, reason):
    assert Refused(errors.InvalidArgument(message)).reason == f"the model refuses it: {reason}"
