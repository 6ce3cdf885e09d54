"""Predict and GetModelMetadata: section 1 of TensorFlow Serving's behaviour, row by row."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from contract import DTYPES, FOR_EVER, predict_request, refusal
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
ROWS = np.float32([[1, 2]])
X = {"x": ROWS}
BROKEN = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123")
BROKEN.tensor_shape.dim.add(size=1)
AB = {"a": np.float32([1]), "b": np.int32([2])}


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
        (predict_request(X, name=""), INVALID, "ModelSpec has no name specified."),
        (predict_request(X, name="none"), NOT_FOUND, "Servable not found for request: Latest(none)"),
        (predict_request(X, version=5), NOT_FOUND, "Servable not found for request: Specific(zoo, 5)"),
        (predict_request(X, name="none", version=5), NOT_FOUND, "Servable not found for request: Specific(none, 5)"),
        (predict_request(X, label="no"), INVALID, "Unrecognized servable version label: no"),
        (predict_request(X, name="half", label="next"), NOT_FOUND, "Servable not found for request: Specific(half, 9)"),
        (predict_request(X, signature="S"), PRECONDITION, 'Serving signature key "S" not found.'),
        # The lookup comes before the signature, and the signature before the tensors.
        (predict_request(X, name="none", signature="S"), NOT_FOUND, "Servable not found for request: Latest(none)"),
        (predict_request({"x": BROKEN}, signature="S"), PRECONDITION, 'Serving signature key "S" not found.'),
    ],
)
def test_what_is_not_found(stub, message, code, text):
    assert refusal(stub.Predict, message) == (code, text)


@pytest.mark.parametrize(
    ("inputs", "signature", "text"),
    [
        (
            {},
            "two",
            "input size does not match signature: 0!=2 len({}) != len({a,b}). Sent extra: {}. Missing but required: {a,b}.",
        ),
        (
            {"c": 1.0, **AB},
            "two",
            "len({a,b,c}) != len({a,b}). Sent extra: {c}. Missing but required: {}.",
        ),
        (
            {"a": 1.0, "c": 1.0},
            "two",
            "not found in request and no default value provided. Inputs expected to be in the request {a,b}, or default",
        ),
        (
            {"a": 1.0, "c": 1.0},
            "defaulted",
            "Inputs contains invalid name. Used request inputs: {a}, request input: {a,c}",
        ),
        # How many there are is looked at before what they are.
        ({"c": BROKEN, **AB}, "two", "input size does not match signature: 3!=2"),
        ({"x": BROKEN}, "", "tensor parsing error: x"),
        ({"x": np.int32([[1, 2]])}, "", "Expects arg[0] to be float but int32 is provided"),
        ({"a": np.float32(1), "b": np.float32(1)}, "two", "Expects arg[1] to be int32 but float is provided"),
        ({"x": np.float32([1, 2])}, "fails", "{{node Reshape}}]]"),
    ],
)
def test_wrong_inputs(stub, inputs, signature, text):
    code, details = refusal(stub.Predict, predict_request(inputs, signature=signature))
    assert (code, text in details) == (INVALID, True), details


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (["no"], "output tensor alias not found in signature: no Outputs expected to be in the set {b,sum}."),
        (["b", "b"], "duplicate output tensor alias: b"),
    ],
)
def test_wrong_output_filters(stub, outputs, text):
    assert refusal(stub.Predict, predict_request(AB, signature="two", outputs=outputs)) == (INVALID, text)
    # The inputs are looked at before, except for their types, which only the run sees.
    message = predict_request({**AB, "b": BROKEN}, signature="two", outputs=outputs)
    assert "tensor parsing error: b" in refusal(stub.Predict, message)[1]
    message = predict_request({**AB, "b": 1.0}, signature="two", outputs=outputs)
    assert refusal(stub.Predict, message) == (INVALID, text)


def test_an_answer_tells_who_answered(stub):
    spec = stub.Predict(predict_request({"x": [[1.0]]}, name="half", label="stable"), timeout=10).model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("half", "serving_default", 7)
    assert spec.WhichOneof("version_choice") == "version"


@pytest.mark.parametrize(("version", "expected"), [(None, 3.5), (8, 3.5), (7, 2.5)])
def test_the_highest_version_answers_unless_another_is_named(stub, version, expected):
    response = stub.Predict(predict_request({"x": [[1.0]]}, name="half", version=version), timeout=10)
    assert response.outputs["y"].float_val == [expected]
    assert not response.outputs["y"].tensor_content


@pytest.mark.parametrize("outputs", [["b"], ["sum", "b"], []])
def test_only_the_outputs_asked_for_are_sent(stub, outputs):
    response = stub.Predict(predict_request(AB, signature="two", outputs=outputs), timeout=10)
    assert set(response.outputs) == set(outputs or ["sum", "b"])


@pytest.mark.parametrize(("inputs", "expected"), [({"a": [1.0]}, [11.0]), ({"a": [1.0], "b": [2.0]}, [3.0])])
def test_a_missing_input_takes_its_default(stub, inputs, expected):
    response = stub.Predict(predict_request(inputs, signature="defaulted"), timeout=10)
    assert response.outputs["sum"].float_val == expected


@pytest.mark.parametrize("array", [np.float32([3]), np.float32([[1, 2]]), np.float32(5), np.zeros((0, 2), np.float32)])
def test_shapes_are_not_held_against_the_signature(stub, array):
    output = stub.Predict(predict_request({"x": array}), timeout=10).outputs["y"]
    np.testing.assert_array_equal(tf.make_ndarray(output), array * 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_data_type_comes_back_in_its_value_field(stub, dtype):
    sent = tf.make_tensor_proto(tf.constant(["a", "b"]) if dtype == "string" else tf.cast([1, 0], dtype))
    output = stub.Predict(predict_request({"x": sent}, signature=f"id_{dtype}"), timeout=10).outputs["y"]
    np.testing.assert_array_equal(tf.make_ndarray(output), tf.make_ndarray(sent))
    assert (output.dtype, output.tensor_content) == (sent.dtype, b"")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"dtype": 1, "float_val": [5.0, 6.0], "dims": [4]}, [5, 6, 6, 6]),
        ({"dtype": 1, "dims": [2]}, [0, 0]),
        ({"dtype": 7, "dims": [2]}, [b"", b""]),
        ({"dtype": 1, "float_val": [1.0, 2.0, 3.0], "dims": [2]}, [1, 2]),
        ({"dtype": 1, "float_val": [1.0], "unknown": True}, 1),
        ({"dtype": 4, "int_val": [300, -1], "dims": [2]}, [44, 255]),
        ({"dtype": 1, "tensor_content": b"\0" * 3, "dims": [1]}, None),
        ({"dtype": 0, "dims": [1]}, None),
        ({"dtype": 1, "dims": [-1]}, None),
    ],
)
def test_incomplete_tensors(stub, sent, expected):
    fields = {name: value for name, value in sent.items() if name not in ("dims", "unknown")}
    tensor = tensor_pb2.TensorProto(**fields)
    tensor.tensor_shape.unknown_rank = "unknown" in sent
    for size in sent.get("dims", ()):
        tensor.tensor_shape.dim.add(size=size)
    signature = {4: "id_uint8", 7: "id_string"}.get(tensor.dtype, "id_float32")
    message = predict_request({"x": tensor}, signature=signature)
    if expected is None:
        assert "tensor parsing error: x" in refusal(stub.Predict, message)[1]
        return
    assert tf.make_ndarray(stub.Predict(message, timeout=10).outputs["y"]).tolist() == expected


def test_long_error_texts_are_cut(stub):
    code, details = refusal(stub.Predict, predict_request({"x": [np.nan]}, signature="long_text"))
    assert (code, len(details)) == (INVALID, 1024 + len("...TRUNCATED"))
    assert details.endswith("www...TRUNCATED")


def test_a_deadline_ends_a_call_but_not_the_server(stub):
    message = predict_request({"n": np.int32([FOR_EVER])}, signature="slow")
    assert refusal(stub.Predict, message, timeout=0.3)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Predict(predict_request(X), timeout=10).outputs["y"].float_val == [2, 4]


def metadata_request(*fields, name="half", version=None):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = name
    if version is not None:
        message.model_spec.version.value = version
    return message


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (
            get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
            INVALID,
            "Missing ModelSpec",
        ),
        (metadata_request(), INVALID, "GetModelMetadataRequest must specify at least one metadata_field"),
        (metadata_request("a", name="none"), INVALID, "Metadata field a is not supported"),
        (metadata_request("signature_def", "b"), INVALID, "Metadata field b is not supported"),
        (metadata_request("signature_def", name="none"), NOT_FOUND, "Servable not found for request: Latest(none)"),
        (metadata_request("signature_def", version=1), NOT_FOUND, "Servable not found for request: Specific(half, 1)"),
    ],
)
def test_wrong_metadata_requests(stub, message, code, text):
    assert refusal(stub.GetModelMetadata, message) == (code, text)


@pytest.mark.parametrize(("name", "version", "expected"), [("half", 8, "regress"), ("zoo", 1, "__saved_model_init_op")])
def test_metadata_is_all_signatures(stub, name, version, expected):
    response = stub.GetModelMetadata(metadata_request("signature_def", name=name), timeout=10)
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (name, version, "")
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert {"serving_default", expected} <= set(found.signature_def)


def test_session_run_is_not_served(channel):
    method = channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    assert refusal(method, b"")[0] is grpc.StatusCode.UNIMPLEMENTED
