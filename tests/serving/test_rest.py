"""The server's REST side, asked by a plain HTTP client."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from serving.server import rest_json

PICTURE = np.full((28, 28, 1), 190, np.uint8)
PNG = {"b64": base64.b64encode(tf.io.encode_png(PICTURE).numpy()).decode()}


@pytest.fixture(scope="module")
def ask(server):
    def send(path, body=None, verb=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = server.rest_url.removesuffix("/v1/models/") + path
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, method=verb), timeout=10) as response:
                assert response.headers["content-type"] == "application/json"
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return send


def predict(ask, **body):
    return ask("/v1/models/patterns:predict", body)


def test_rows_of_numbers(ask):
    status, answer = predict(ask, instances=[PICTURE.tolist()] * 2)
    assert status == 200
    assert len(answer["predictions"]) == 2
    assert set(answer["predictions"][0]) == {"logits", "probabilities", "top_scores", "top_classes", "top_labels"}
    assert answer["predictions"][0]["top_labels"][0] == "bright"
    assert answer["predictions"][0]["top_classes"][0] == 1


@pytest.mark.parametrize("instance", [PNG, {"image_bytes": PNG}])
def test_rows_of_encoded_pictures(ask, instance):
    status, answer = predict(ask, signature_name="serving_bytes", instances=[instance])
    by_number = predict(ask, instances=[PICTURE.tolist()])[1]
    assert status == 200
    assert answer["predictions"] == by_number["predictions"]


@pytest.mark.parametrize("inputs", [[PNG], {"image_bytes": [PNG]}])
def test_columns(ask, inputs):
    status, answer = predict(ask, signature_name="serving_bytes", inputs=inputs)
    assert status == 200
    assert np.shape(answer["outputs"]["probabilities"]) == (1, 3)


@pytest.mark.parametrize("path", ["/v1/models/patterns/versions/1:predict", "/V1/Models/patterns:PREDICT"])
def test_paths(ask, path):
    assert ask(path, {"instances": [PICTURE.tolist()]})[0] == 200


def test_status_and_metadata(ask):
    entry = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/patterns", "/v1/models/patterns/versions/1", "/v1/models/patterns/labels/any"):
        assert ask(path) == (200, {"model_version_status": [entry]})
    status, answer = ask("/v1/models/patterns/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "patterns", "signature_name": "", "version": "1"}
    images = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["images"]
    assert (images["dtype"], images["tensor_shape"]["dim"][0]["size"]) == ("DT_UINT8", "-1")


BAD = {
    "empty": (b"", 400, "JSON Parse error: The document is empty"),
    "not JSON": (b"{", 400, "JSON Parse error"),
    "not UTF-8": (b"\xff\xfe", 400, "JSON Parse error"),
    "too deep": (b"[" * 100_000, 400, "JSON Parse error"),
    "a list": (b"[]", 400, "Is not object"),
    "no keys": ({}, 400, "Missing 'inputs' or 'instances' key"),
    "both keys": ({"inputs": 1, "instances": [1]}, 400, "expecting only one of"),
    "signature type": ({"signature_name": 3, "instances": [1]}, 400, "'signature_name' key must be a string value."),
    "signature": (
        {"signature_name": "x", "instances": [1]},
        400,
        'Serving signature name: "x" not found in signature def',
    ),
    "instances type": ({"instances": 3}, 400, "Expecting 'instances' to be an list/array"),
    "no instances": ({"instances": []}, 400, "No values in 'instances' array"),
    "ragged": ({"instances": [[[1], [2, 3]]]}, 400, "unequal"),
    "fraction for an integer": ({"instances": [1.5]}, 400, "is not of expected type: uint8"),
    "text for an integer": ({"instances": ["a"]}, 400, "is not of expected type: uint8"),
    "truth for an integer": ({"instances": [True]}, 400, "is not of expected type: uint8"),
    "object for an integer": ({"instances": [{"b64": "AA=="}]}, 400, "is not of expected type: uint8"),
    "other name": ({"instances": [{"pictures": 1}]}, 400, "Keys must be equal to: images"),
    "missing column": ({"inputs": {"pictures": 1}}, 400, "Missing named input: images in 'inputs' object."),
    "wrong shape": ({"instances": [[[[1]]]]}, 400, "Input 'images' must have shape (batch, 28, 28, 1)"),
    "url-safe base64": (
        {"signature_name": "serving_bytes", "instances": [{"b64": "-_-_"}]},
        400,
        "Unable to base64 decode",
    ),
    "number for bytes": ({"signature_name": "serving_bytes", "instances": [3]}, 400, "is not of expected type: string"),
    "corrupt picture": ({"signature_name": "serving_bytes", "instances": [{"b64": "AAAA"}]}, 400, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bodies_get_tensorflow_servings_status_and_text(ask, case):
    body, expected, text = BAD[case]
    status, answer = ask("/v1/models/patterns:predict", body)
    assert status == expected
    assert text in answer["error"]
    assert predict(ask, instances=[PICTURE.tolist()])[0] == 200  # and no harm done


@pytest.mark.parametrize(
    ("verb", "path", "status", "text"),
    [
        ("POST", "/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("POST", "/v1/models/patterns/versions/7:predict", 404, "Specific(patterns, 7)"),
        ("POST", "/v1/models/patterns/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("GET", "/v1/models/none", 404, "Could not find any versions of model none"),
        ("GET", "/v1/models/none/metadata", 404, "Servable not found"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", f"/v1/models/patterns/versions/{2**63}", 400, "Failed to convert version"),
        ("GET", "/v1/models/patterns:predict", 400, "Malformed request: GET /v1/models/patterns:predict"),
        ("PUT", "/v1/models/patterns", 400, "Malformed request: PUT"),
        ("GET", "/v1/models/patterns?x=1", 400, "Malformed request: GET /v1/models/patterns?x=1"),
        ("POST", "/v1/models/patterns:explain", 400, "Malformed request"),
        ("GET", "/other", 404, "Not found"),
    ],
)
def test_bad_paths(ask, verb, path, status, text):
    body = {"instances": [PICTURE.tolist()]} if verb == "POST" else None
    code, answer = ask(path, body, verb)
    assert (code, text in answer["error"]) == (status, True), answer


def test_bad_json_comes_before_an_unknown_model(ask):
    assert ask("/v1/models/none:predict", b"{")[0] == 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.2), "0.2"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float32(9e6), "9e+06"),
        (np.float32(16777216), "16777216.0"),
        (np.float32(3), "3.0"),
        (np.float32(1e-7), "1e-07"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float32("nan"), "NaN"),
        (np.float32("-inf"), "-Infinity"),
    ],
)
def test_numbers_are_written_as_tensorflow_serving_writes_them(value, text):

    assert f"[{text}]" in rest_json.columns({"x": np.array([value])})


def test_bytes_go_out_by_the_name_of_their_output():
    outputs = {"a_bytes": np.array([b"\xff"], object), "b": np.array([b"text"], object), "c": np.array([True])}
    assert json.loads(rest_json.columns(outputs)) == {
        "outputs": {"a_bytes": [{"b64": "/w=="}], "b": ["text"], "c": [True]}
    }


@pytest.mark.parametrize(
    "outputs", [{"x": np.array(1.0)}, {"x": np.zeros(2), "y": np.zeros(3)}, {"x": np.zeros(1, np.float16)}]
)
def test_answers_that_rows_cannot_hold_are_refused(outputs):
    with pytest.raises(rest_json.InvalidArgument):
        rest_json.predictions(outputs)
