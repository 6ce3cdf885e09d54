"""Classify, Regress and MultiInference, asked by the official stubs."""

from __future__ import annotations

import grpc
import pytest
import tensorflow as tf
from saved_models import CLASSIFY, REGRESS, half_plus_two
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

INVALID, UNIMPLEMENTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    from serving.server import process

    models = tmp_path_factory.mktemp("models")
    half_plus_two(models / "half" / "7")
    with process.running([str(models)]) as server, grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(*values, name="x", kind="float_list"):
    message = tf.train.Example()
    getattr(message.features.feature[name], kind).value.extend(values)
    return message


TWO = (example(1.0), example(6.0))


def spec_of(message, signature, model="half"):
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    return message


def classification(signature="classify", examples=TWO, model="half"):
    message = spec_of(classification_pb2.ClassificationRequest(), signature, model)
    message.input.example_list.examples.extend(examples)
    return message


def regression(signature="regress", examples=TWO):
    message = spec_of(regression_pb2.RegressionRequest(), signature)
    message.input.example_list.examples.extend(examples)
    return message


def test_classify(stub):
    response = stub.Classify(classification(), timeout=10)
    rows = [[(c.label, c.score) for c in row.classes] for row in response.result.classifications]
    assert rows == [[("half", 2.5)], [("half", 5.0)]]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("half", "classify", 7)


@pytest.mark.parametrize(("signature", "expected"), [("scores", ("", 2.5)), ("classes", ("half", 0.0))])
def test_what_a_signature_lacks_is_empty(stub, signature, expected):
    (row,) = stub.Classify(classification(signature, [example(1.0)]), timeout=10).result.classifications
    assert [(c.label, c.score) for c in row.classes] == [expected]


@pytest.mark.parametrize("signature", ["regress", "flat_regress"])
def test_regress(stub, signature):
    response = stub.Regress(regression(signature), timeout=10)
    assert [value.value for value in response.result.regressions] == [2.5, 5.0]
    assert response.model_spec.signature_name == signature


def test_a_context_completes_every_example(stub):
    message = spec_of(regression_pb2.RegressionRequest(), "regress")
    message.input.example_list_with_context.context.CopyFrom(example(8.0))
    message.input.example_list_with_context.examples.extend([tf.train.Example(), example(2.0)])
    assert [value.value for value in stub.Regress(message, timeout=10).result.regressions] == [6.0, 3.0]


def multi(*tasks):
    message = inference_pb2.MultiInferenceRequest()
    for signature, method, *model in tasks:
        spec_of(message.tasks.add(method_name=method), signature, *model)
    message.input.example_list.examples.extend([example(1.0), example(6.0)])
    return message


def test_multi_inference_answers_in_the_order_of_its_tasks(stub):
    response = stub.MultiInference(multi(("regress", REGRESS), ("classify", CLASSIFY)), timeout=10)
    first, second = response.results
    assert [value.value for value in first.regression_result.regressions] == [2.5, 5.0]
    assert second.classification_result.classifications[1].classes[0].score == 5.0
    assert [result.model_spec.signature_name for result in response.results] == ["regress", "classify"]
    assert [result.model_spec.version.value for result in response.results] == [7, 7]


BAD_CLASSIFICATIONS = {
    "no spec": (classification_pb2.ClassificationRequest(), INVALID, "Missing ModelSpec"),
    "model": (classification(model="none"), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(none)"),
    "signature": (classification("nope"), INVALID, "No signature was found with the name: nope"),
    "no examples": (classification(examples=[]), INVALID, "Input is empty."),
    "feature missing": (
        classification(examples=[example(1.0, name="z")]),
        INVALID,
        "Feature: x (data type: float) is required but could not be found.",
    ),
    "feature of another kind": (
        classification(examples=[example(1, kind="int64_list")]),
        INVALID,
        "Data types don't match.",
    ),
    "two inputs": (classification("two_inputs"), INVALID, "Expected one input Tensor."),
    "three outputs": (classification("three"), INVALID, "Expected one or two output Tensors, found 3"),
    "other input": (classification("other_name"), INVALID, "No classification inputs found in SignatureDef: "),
    "other outputs": (
        classification("neither"),
        INVALID,
        "Expected classification signature outputs to contain at least one of",
    ),
    "rank": (classification("flat"), INVALID, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
    "type": (classification("double"), INVALID, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
    "batch": (classification("short"), INVALID, "Expected scores output batch size of 2. Got: 1"),
}


def refused(method, message):
    with pytest.raises(grpc.RpcError) as error:
        method(message, timeout=10)
    return error.value.code(), error.value.details()


@pytest.mark.parametrize("case", BAD_CLASSIFICATIONS)
def test_bad_classifications(stub, case):
    message, code, text = BAD_CLASSIFICATIONS[case]
    actual, details = refused(stub.Classify, message)
    assert (actual, text in details) == (code, True), details


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("nope", "No signature was found with the name: nope"),
        ("classify", "Expected one output Tensor."),
        ("scores", "No regression outputs found in SignatureDef: "),
        ("wide_regress", "[batch_size, 1] but got [2,2]"),
    ],
)
def test_bad_regressions(stub, signature, text):
    code, details = refused(stub.Regress, regression(signature))
    assert (code, text in details) == (INVALID, True), details


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (multi(), INVALID, "ModelSpec has no name specified."),
        (multi(("regress", REGRESS, "half"), ("classify", CLASSIFY, "other")), INVALID, "must access the same model"),
        (multi(("regress", REGRESS), ("regress", REGRESS)), INVALID, "Duplicate evaluation of signature: regress"),
        (multi(("nope", REGRESS)), INVALID, "Requested signature not found in model graph: nope"),
        (
            multi(("regress", REGRESS), ("of_numbers", REGRESS)),
            INVALID,
            "Input tensor must be the same for all Signatures.",
        ),
        (multi(("regress", "odd")), UNIMPLEMENTED, "Unsupported signature method_name: odd"),
    ],
)
def test_bad_multi_inferences(stub, message, code, text):
    actual, details = refused(stub.MultiInference, message)
    assert (actual, text in details) == (code, True), details


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        # model_spec {name: "half" signature_name: "regress"}, then an Input whose list is cut off.
        (
            b"\x0a\x0f\x0a\x04half\x1a\x07regress\x12\x03\x0a\x05a",
            grpc.StatusCode.INTERNAL,
            "Error parsing serialized input.",
        ),
        # An Input with one example that is no tf.Example: the graph says so.
        (b"\x0a\x0f\x0a\x04half\x1a\x07regress\x12\x05\x0a\x03\x0a\x01\xff", INVALID, "Could not parse example input"),
        (b"\x0a\xff", grpc.StatusCode.INTERNAL, ""),
    ],
)
def test_broken_bytes(channel, data, code, text):
    actual, details = refused(channel.unary_unary("/tensorflow.serving.PredictionService/Regress"), data)
    assert (actual, text in details) == (code, True), details
