"""Classify and regress."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import errors
from serving.server.rest import examples
from serving.server.rest.json_in import Document


def read(body):
    return [example_pb2.Example.FromString(text) for text in examples.serialized(Document(body))]


def post(ask, method, body, model="model"):
    return ask("POST", f"/v1/models/{model}:{method}", body)


def refused(ask, feature):
    """The error that a feature gets, of classify and regress alike."""
    body = {"signature_name": "classify", "examples": [{"x": feature}]}
    responses = [post(ask, method, body) for method in ("classify", "regress")]
    assert [response.status_code for response in responses] == [400, 400]
    assert responses[0].text == responses[1].text
    return responses[0].json()["error"]


def test_classify(ask):
    body = {
        "signature_name": "classify",
        "examples": [{"x": 2.0, "label": "two"}, {"x": [0.1], "label": {"b64": "YQ"}}],
    }
    response = post(ask, "classify", body)
    assert response.text == '{\n    "results": [[["two", 2.0]], [["a", 0.1]]\n    ]\n}'
    assert not ask.manager.lending


def test_regress_with_a_context(ask):
    body = {"signature_name": "regress", "context": {"x": 1.5}, "examples": [{}, {"x": 2.5}]}
    assert post(ask, "regress", body).text == '{\n    "results": [1.5, 2.5]\n}'


def test_the_kind_of_a_feature_is_that_of_its_first_value():
    (example,) = read(
        b'{"examples": [{"i": [1, true], "f": [1.0, NaN, 1e39], "b": ["a", {"b64": "Yg=="}], "none": []}]}'
    )
    feature = example.features.feature
    assert list(feature["i"].int64_list.value) == [1, 1]
    np.testing.assert_array_equal(feature["f"].float_list.value, [1, np.nan, np.inf])
    assert list(feature["b"].bytes_list.value) == [b"a", b"b"]
    assert feature["none"].WhichOneof("kind") is None


def test_a_feature_whose_name_is_no_utf_8_is_one_that_no_model_knows():
    (example,) = read(b'{"examples": [{"x": 1.0, "\xff": [2.0]}]}')
    assert set(example.features.feature) == {"x"}
    with pytest.raises(errors.InvalidArgument, match="has element with unexpected JSON type: Null"):
        read(b'{"examples": [{"\xff": [null]}]}')


def test_integers_are_no_floats(ask):
    assert "Data types don't match. Data type: int64 but expected type: float" in refused(ask, 2)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ([1, 2.5], "Unexpected element type in feature: x expecting type: int64"),
        ([2.5, "a"], "Unexpected element type in feature: x expecting type: float"),
        (["a", 1], "Unexpected element type in feature: x expecting type: bytes"),
        (None, "Feature: x has element with unexpected JSON type: Null"),
        ([1, [2]], "Feature: x has element with unexpected JSON type: Array"),
        ([[2]], "Feature: x has element with unexpected JSON type: Array"),
        ({"c": 1}, "Feature: x has element with unexpected JSON type: Object"),
        ([{"b64": "YQ=="}, {"b64": 1}], "Feature: x has element with unexpected JSON type: Object"),
        ([2**63], "Feature: x has uint64 element. Only int64_t is supported."),
        ({"b64": "Y"}, "Unable to base64 decode"),
    ],
)
def test_wrong_features(ask, feature, text):
    assert refused(ask, feature) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"context": [], "examples": [{}]}, "Example must be JSON object but got JSON Array"),
        ({"signature_name": 1}, "'signature_name' key must be a string value."),
    ],
)
@pytest.mark.parametrize("method", ["classify", "regress"])
def test_wrong_bodies_come_before_an_unknown_model(ask, method, body, text):
    response = post(ask, method, body, model="none")
    assert (response.status_code, response.json()["error"].endswith(text)) == (400, True)


def test_an_unknown_model(ask):
    response = post(ask, "classify", {"examples": [{}]}, model="none")
    assert (response.status_code, response.json()["error"]) == (404, "Servable not found for request: Latest(none)")


def test_no_results():
    with pytest.raises(errors.InvalidArgument, match="Cannot convert empty ClassificationResults to JSON"):
        examples.classifications(classification_pb2.ClassificationResult())
    with pytest.raises(errors.InvalidArgument, match="Cannot convert empty RegressionResults to JSON"):
        examples.regressions(regression_pb2.RegressionResult())
