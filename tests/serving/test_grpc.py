"""The server's gRPC side, asked by the official stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
PICTURES = np.zeros((2, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def predict(stub):
    return stub.Predict


def request(inputs=None, *, name="patterns", signature="", version=None, label=None, outputs=()):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    if version is not None:
        message.model_spec.version.value = version
    if label:
        message.model_spec.version_label = label
    for key, value in ({"images": PICTURES} if inputs is None else inputs).items():
        message.inputs[key].CopyFrom(
            value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        )
    return message


def test_predict_answers_with_the_effective_spec_and_typed_values(predict):
    response = predict(request(), timeout=10)
    assert response.model_spec.name == "patterns"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 1
    assert len(response.outputs["probabilities"].float_val) == 2 * 3
    assert not response.outputs["probabilities"].tensor_content
    assert tf.make_ndarray(response.outputs["top_labels"]).shape == (2, 3)


def test_output_filter(predict):
    assert set(predict(request(outputs=["top_scores"]), timeout=10).outputs) == {"top_scores"}


def test_all_signatures_answer_alike(predict):
    png = tf.io.encode_png(PICTURES[0]).numpy()
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
    example = tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()
    default = tf.make_ndarray(predict(request(), timeout=10).outputs["top_scores"])[0]
    encoded = predict(request({"image_bytes": np.array([png], object)}, signature="serving_bytes"), timeout=10)
    classify = predict(request({"inputs": np.array([example], object)}, signature="classify"), timeout=10)
    np.testing.assert_allclose(tf.make_ndarray(encoded.outputs["top_scores"])[0], default, atol=1e-6)
    np.testing.assert_allclose(tf.make_ndarray(classify.outputs["scores"])[0], default, atol=1e-6)


BROKEN = tf.make_tensor_proto(PICTURES)
BROKEN.tensor_content = b"123"

BAD_REQUESTS = {
    "no spec": (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
    "no name": (request(name=""), INVALID, "ModelSpec has no name specified."),
    "unknown model": (request(name="none"), NOT_FOUND, "Servable not found for request: Latest(none)"),
    "unknown model, version": (
        request(name="none", version=4),
        NOT_FOUND,
        "Servable not found for request: Specific(none, 4)",
    ),
    "unknown version": (request(version=9), NOT_FOUND, "Servable not found for request: Specific(patterns, 9)"),
    "unknown label": (request(label="stable"), INVALID, "Unrecognized servable version label: stable"),
    "unknown signature": (request(signature="nope"), PRECONDITION, 'Serving signature key "nope" not found.'),
    "signature before tensors": (request({"x": BROKEN}, signature="nope"), PRECONDITION, "not found"),
    "no input": (
        request({}),
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({images}). Sent extra: {}. ",
    ),
    "too many": (
        request({"images": PICTURES, "b": 1, "a": 1}),
        INVALID,
        "3!=1 len({a,b,images}) != len({images}). Sent extra: {a,b}. Missing but required: {}.",
    ),
    "wrong name": (request({"pictures": PICTURES}), INVALID, "Signature input alias: images(feed name: "),
    "broken tensor": (request({"images": BROKEN}), INVALID, "tensor parsing error: images"),
    "wrong type": (
        request({"images": PICTURES.astype(np.float64)}),
        INVALID,
        "Expects arg[0] to be uint8 but double is provided",
    ),
    "wrong shape": (
        request({"images": PICTURES[:, :5]}),
        INVALID,
        "Input 'images' must have shape (batch, 28, 28, 1). Received: (2, 5, 28, 1).",
    ),
    "scalar": (
        request({"images": np.uint8(3)}),
        INVALID,
        "Input 'images' must have shape (batch, 28, 28, 1). Received: ().",
    ),
    "unknown output": (
        request(outputs=["no"]),
        INVALID,
        "output tensor alias not found in signature: no Outputs expected to be in the set {logits,",
    ),
    "output twice": (request(outputs=["logits", "logits"]), INVALID, "duplicate output tensor alias: logits"),
    "corrupt picture": (
        request({"image_bytes": np.array([b"\x89PNG nonsense"], object)}, signature="serving_bytes"),
        INVALID,
        "",
    ),
    "corrupt example": (
        request({"inputs": np.array([b"junk"], object)}, signature="classify"),
        INVALID,
        "Feature: image/encoded (data type: string) is required but could not be found.",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests_get_tensorflow_servings_status_and_text(predict, case):
    message, code, text = BAD_REQUESTS[case]
    with pytest.raises(grpc.RpcError) as error:
        predict(message, timeout=10)
    assert error.value.code() == code
    assert text in error.value.details()
    assert predict(request(), timeout=10).outputs  # and no harm done


def test_long_texts_are_cut(predict):
    with pytest.raises(grpc.RpcError) as error:
        predict(request(name="x" * 2000), timeout=10)
    assert error.value.details().endswith("...TRUNCATED")
    assert len(error.value.details()) == 1024 + len("...TRUNCATED")


def test_a_request_beyond_4_mib_is_no_surprise(predict):
    many = np.zeros((8000, 28, 28, 1), np.uint8)
    assert (
        len(predict(request({"images": many}, outputs=["top_scores"]), timeout=60).outputs["top_scores"].float_val)
        == 24_000
    )


def metadata_request(name="patterns", fields=("signature_def",)):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = name
    return message


def test_metadata(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.GetModelMetadata(metadata_request(), timeout=10)
    assert (response.model_spec.name, response.model_spec.version.value) == ("patterns", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "serving_bytes", "classify", "__saved_model_init_op"} <= set(signatures.signature_def)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (get_model_metadata_pb2.GetModelMetadataRequest(), INVALID, "Missing ModelSpec"),
        (metadata_request(fields=()), INVALID, "at least one metadata_field"),
        (metadata_request("none", ["other"]), INVALID, "Metadata field other is not supported"),  # before the lookup
        (metadata_request("none"), NOT_FOUND, "Servable not found for request: Latest(none)"),
    ],
)
def test_bad_metadata_requests(channel, message, code, text):
    with pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(message, timeout=10)
    assert (error.value.code(), text in error.value.details()) == (code, True)


def status_request(name="patterns", version=None):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = name
    if version:
        message.model_spec.version.value = version
    return message


def test_status(model_service):
    for message in (status_request(), status_request(version=1)):
        (entry,) = model_service.GetModelStatus(message, timeout=10).model_version_status
        assert (entry.version, entry.state, entry.status.error_code) == (1, 30, 0)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
        (status_request("none"), NOT_FOUND, "Could not find any versions of model none"),
        (status_request("patterns", 5), NOT_FOUND, "Could not find version 5 of model patterns"),
    ],
)
def test_bad_status_requests(model_service, message, code, text):
    with pytest.raises(grpc.RpcError) as error:
        model_service.GetModelStatus(message, timeout=10)
    assert (error.value.code(), error.value.details()) == (code, text)


@pytest.mark.parametrize("service", ["", "PredictionService", "ModelService"])
def test_health(channel, service):
    response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_every_service_that_it_lists(channel):
    """A pool of its own, which knows only what the server's process tells."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    methods = {
        name: [method.name for method in pool.FindServiceByName(name).methods] for name in database.get_services()
    }
    assert methods == {
        "grpc.health.v1.Health": ["Check", "Watch"],
        "grpc.reflection.v1.ServerReflection": ["ServerReflectionInfo"],
        "grpc.reflection.v1alpha.ServerReflection": ["ServerReflectionInfo"],
        "tensorflow.serving.ModelService": ["GetModelStatus", "HandleReloadConfigRequest"],
        "tensorflow.serving.PredictionService": [
            "Classify", "Regress", "Predict", "MultiInference", "GetModelMetadata",
        ],
    }  # fmt: skip
