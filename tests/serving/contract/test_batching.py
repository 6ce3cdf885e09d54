"""--enable_batching: what TensorFlow Serving's batching does to requests, as its parameters say."""

from __future__ import annotations

import shutil

import grpc
import numpy as np
import pytest
from contract import predict_request, refusal
from saved_models import half_plus_two
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.server import process

INVALID, UNAVAILABLE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
STRICT = """
max_batch_size { value: 4 } batch_timeout_micros { value: 300000 } max_enqueued_batches { value: 2 }
num_batch_threads { value: 1 } allowed_batch_sizes: 2 allowed_batch_sizes: 4
"""
SPLIT = """
max_batch_size { value: 8 } max_execution_batch_size { value: 4 } batch_timeout_micros { value: 300000 }
enable_large_batch_splitting { value: true } pad_variable_length_inputs: true
"""
# About a tenth of a second.
STEPS = 3000


def asked(folder, *arguments):
    with (
        process.running([str(folder), "--enable_batching", *arguments]) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


@pytest.fixture(scope="module")
def strict(models, tmp_path_factory):
    file = tmp_path_factory.mktemp("batching") / "parameters.txt"
    file.write_text(STRICT)
    yield from asked(models, f"--batching_parameters_file={file}")


@pytest.fixture(scope="module")
def per_model(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("per_model")
    shutil.copytree(models / "zoo", folder / "zoo")
    half_plus_two(folder / "half" / "1")
    (folder / "zoo" / "1" / "batching_params.pbtxt").write_text(SPLIT)
    yield from asked(folder, "--enable_per_model_batching_parameters")


def values(response):
    (output,) = response.outputs.values()
    return [*output.int_val, *output.float_val]


def together(predict, *messages):
    """Answers, or errors, of requests sent at once."""
    calls = [predict.future(message, timeout=20) for message in messages]
    return [call.exception() or values(call.result()) for call in calls]


def rows(*numbers, signature="batch_size", dtype=np.float32):
    key = "n" if signature == "slow" else "x"
    return predict_request({key: np.array(numbers, dtype)}, signature=signature)


def test_a_run_is_filled_up_to_the_next_allowed_size(strict):
    assert values(strict(rows(1), timeout=10)) == [2]
    assert values(strict(rows(1, 2, 3), timeout=10)) == [4, 4, 4]
    # With copies of the first row of the last request.
    assert values(strict(rows(5, 1, 1, signature="batch_sum"), timeout=10)) == [12.0] * 3


def test_requests_share_a_run(strict):
    assert together(strict, rows(1), rows(2)) == [[2], [2]]
    assert sorted(together(strict, rows(1, 2, 3), rows(4), rows(5)), key=len) in (
        [[2], [4], [4] * 3],
        [[4], [2], [4] * 3],
    )


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (rows(1, 2, 3, 4, 5), INVALID, "Task size 5 is larger than maximum input batch size 4"),
        (
            predict_request({"a": np.float32([1, 2]), "b": np.int32([1])}, signature="two"),
            INVALID,
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        (
            predict_request({"x": np.float32(1)}, signature="id_float32"),
            INVALID,
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            rows(1, 2, signature="total"),
            PRECONDITION,
            "Batched output tensor has 0 dimensions",
        ),
        (
            rows(1, 2, signature="uneven"),
            PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
        ),
    ],
)
def test_what_cannot_be_batched_is_refused(strict, message, code, text):
    actual = refusal(strict, message)
    assert (actual[0], text in actual[1]) == (code, True), actual


def test_a_full_queue_refuses(strict):
    slow = rows(*[STEPS] * 4, signature="slow", dtype=np.int32)
    answers = together(strict, *[slow] * 8)
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert 1 <= len(refused) <= 6
    text = (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    assert {(error.code(), error.details()) for error in refused} == {(UNAVAILABLE, text)}


def test_requests_of_different_shapes_do_not_fail_each_other(strict):
    # TensorFlow Serving fails both if they happen to meet in a batch.
    narrow, wide = np.float32([[1, 2]]), np.float32([[1, 2, 3]])
    answers = together(strict, *(predict_request({"x": x}, signature="id_float32") for x in (narrow, wide)))
    assert answers == [[1, 2], [1, 2, 3]]


def test_different_shapes_are_padded_if_parameters_say_so(per_model):
    narrow, wide = np.float32([[7, 2]]), np.float32([[1, 2, 3]])
    answers = together(per_model, *(predict_request({"x": x}, signature="id_float32") for x in (narrow, wide)))
    assert answers == [[7, 2, 7], [1, 2, 3]]


def test_large_requests_are_split(per_model):
    assert sorted(values(per_model(rows(1, 2, 3, 4, 5, 6), timeout=10))) == [2, 2, 4, 4, 4, 4]
    text = "Task size 9 is larger than maximum input batch size 8"
    assert refusal(per_model, rows(*range(9))) == (INVALID, text)


def test_a_version_without_parameters_is_not_batched(per_model):
    big = predict_request({"x": np.ones((1500, 1), np.float32)}, name="half")
    assert len(values(per_model(big, timeout=10))) == 1500
