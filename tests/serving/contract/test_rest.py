"""REST: section 2 of TensorFlow Serving's behaviour, asked by a plain HTTP client."""

from __future__ import annotations

import base64
import gzip
import json
import socket

import httpx
import pytest
from contract import FOR_EVER

# Nothing of REST depends on who carries gRPC.
pytestmark = pytest.mark.parametrize("server", ["http2"], indirect=True)

HALF_STATUS = """\
{
 "model_version_status": [
  {
   "version": "8",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}"""
ROW = '{"instances": [[1.0, 2.0]]}'


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.rest_url.removesuffix("/v1/models/"), timeout=60) as client:
        yield client


def posted(http, path, body, **headers):
    return http.post(f"/v1/models/{path}", content=body, headers=headers)


def answer(http, body, signature="", path="zoo:predict"):
    if signature:
        body = body.replace("{", f'{{"signature_name": "{signature}", ', 1)
    response = posted(http, path, body)
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.text


def refused(http, body, signature="", path="zoo:predict"):
    status, text = answer(http, body, signature, path)
    assert text.startswith('{\n    "error": "'), text
    return status, json.loads(text)["error"]


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/models/zoo:predict"),
        ("POST", "/v1/models/zoo"),
        ("PUT", "/v1/models/zoo:predict"),
        ("DELETE", "/v1/models/zoo"),
        ("GET", "/v1/models/zoo?x=1"),
        ("POST", "/v1/models/zoo:predict?x=1"),
        ("POST", "/v1/models/zoo:explain"),
        ("POST", "/v1/models/zoo/versions/x:predict"),
        ("GET", "/v1/models/zoo/"),
        ("GET", "/v1/foo"),
        ("GET", "/v1/"),
    ],
)
def test_malformed_requests(http, verb, path):
    response = http.request(verb, path, content=b"{}" if verb != "GET" else None)
    assert response.status_code == 400
    assert response.json() == {"error": f"Malformed request: {verb} {path}"}


def test_head_is_malformed_too(http):
    response = http.head("/v1/models/zoo")
    assert (response.status_code, response.content) == (400, b"")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models/zoo", "/monitoring/prometheus/other"])
def test_outside_the_api_there_is_html(http, path):
    response = http.get(path)
    assert (response.status_code, "<H1>Not Found</H1>" in response.text) == (404, True)
    assert "text/html" in response.headers["content-type"]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("none", 404, "Could not find any versions of model none"),
        ("half/versions/3", 404, "Could not find version 3 of model half"),
        ("half/versions/9223372036854775808", 400, "Failed to convert version: 9223372036854775808 to numeric."),
        ("none/versions/3", 404, "Could not find version 3 of model none"),
        ("none/metadata", 404, "Servable not found for request: Latest(none)"),
        ("half/versions/3/metadata", 404, "Servable not found for request: Specific(half, 3)"),
        ("half/labels/no/metadata", 400, "Unrecognized servable version label: no"),
        ("half/labels/next/metadata", 404, "Servable not found for request: Specific(half, 9)"),
    ],
)
def test_what_cannot_be_told(http, path, status, error):
    response = http.get(f"/v1/models/{path}")
    assert (response.status_code, response.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("half:predict", 3.5),
        ("half/versions/7:predict", 2.5),
        ("half/versions/00008:predict", 3.5),
        ("half/labels/stable:predict", 2.5),
        ("ha%6Cf/labels/st%61ble:predict", 2.5),
        ("half:PREDICT", 3.5),
        ("half/Versions/7:Predict", 2.5),
    ],
)
def test_paths(http, path, expected):
    response = posted(http, path, '{"instances": [[1.0]]}')
    assert response.json() == {"predictions": [[expected]]}


def test_status_is_protobuf_json(http):
    response = http.get("/v1/models/half/versions/8")
    assert (response.status_code, response.text.strip()) == (200, HALF_STATUS)
    for path in ("half", "half/labels/stable", "half/labels/nobody"):
        versions = [entry["version"] for entry in http.get(f"/v1/models/{path}").json()["model_version_status"]]
        assert versions == ["8", "7"]


def test_metadata_is_protobuf_json_with_the_fields_own_names(http):
    metadata = http.get("/v1/models/half/labels/stable/metadata").json()
    assert metadata["model_spec"] == {"name": "half", "signature_name": "", "version": "7"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "name": "x:0",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
    }


def test_options_and_origin(http):
    with_origin = http.options("/v1/models/zoo:predict", headers={"Origin": "https://example.org"})
    without = http.options("/v1/models/zoo:predict")
    assert (with_origin.status_code, with_origin.content) == (200, b"")
    assert (without.status_code, without.content) == (400, b"")
    assert "access-control-allow-origin" not in with_origin.headers


def test_content_type_is_not_looked_at_and_gzip_is_unpacked(http):
    assert posted(http, "zoo:predict", ROW, **{"Content-Type": "image/png"}).status_code == 200
    packed = gzip.compress(ROW.encode())
    assert posted(http, "zoo:predict", packed, **{"Content-Encoding": "gzip"}).json() == {"predictions": [[2.0, 4.0]]}
    huge = gzip.compress(b" " * (100 * 2**20 + 1), 1)
    assert posted(http, "zoo:predict", huge, **{"Content-Encoding": "gzip"}).status_code == 413


def test_a_run_that_takes_too_long(http):
    status, error = refused(http, json.dumps({"instances": [FOR_EVER]}), "slow")
    assert status == 504, error


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("", 400, "JSON Parse error: The document is empty"),
        ("{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("[1]", 400, "Is not object"),
        ('{"signature_name": 5, "instances": [1]}', 400, "'signature_name' key must be a string value."),
        ("{}", 400, "Missing 'inputs' or 'instances' key"),
        ('{"inputs": 1, "instances": [1]}', 400, "Not formatted correctly expecting only one of"),
        ('{"instances": 5}', 400, "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', 400, "No values in 'instances' array"),
        ('{"signature_name": "S", "instances": 5}', 400, 'Serving signature name: "S" not found in signature def'),
        ('{"instances": [[1, 2], [1]]}', 400, "list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[[1, 2]], [1, 2]]}', 400, "Expecting shape [1,2] but got: [2]"),
        ('{"instances": [["a"]]}', 400, 'JSON Value: \\"a\\" Type: String is not of expected type: float'.replace("\\", "")),
        ('{"instances": [[1, [2]]]}', 400, "Encountered list at unexpected level"),
        ('{"instances": [[[1], 2]]}', 400, "found at incorrect level"),
        ('{"inputs": [[1, 2], [1]]}', 400, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ('{"instances": [[1.0], {"x": [1.0]}]}', 400, "Expecting value/list but got object"),
        ('{"instances": [{"x": [1.0]}, [1.0]]}', 400, "Expecting object but got list at item 1 of input list"),
        ('{"instances": [{"z": [1.0]}]}', 400, "Failed to process element: 0 key: z of 'instances' list."),
    ],
)  # fmt: skip
def test_wrong_bodies(http, body, status, error):
    actual = refused(http, body)
    assert (actual[0], error in actual[1]) == (status, True), actual


def test_the_order_of_checks(http):
    assert refused(http, "{", path="none:predict")[0] == 400
    assert refused(http, '{"signature_name": 5}', path="none:predict")[0] == 400
    assert refused(http, "{}", path="none:predict") == (404, "Servable not found for request: Latest(none)")
    assert refused(http, '{"examples": []}', path="none:classify")[0] == 400
    good = '{"examples": [{"x": 1.0}]}'
    assert refused(http, good, path="none:classify") == (404, "Servable not found for request: Latest(none)")
    assert refused(http, ROW, path="half/labels/no:predict") == (400, "Unrecognized servable version label: no")


@pytest.mark.parametrize(
    ("signature", "body", "error"),
    [
        ("two", '{"instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ("two", '{"instances": [{"a": 1}]}', "keys must be equal to: a,b"),
        ("two", '{"inputs": {"a": 1}}', "Missing named input: b in 'inputs' object."),
        ("defaulted", '{"inputs": {"a": 1}}', "Missing named input: b in 'inputs' object."),
        ("total", '{"instances": [1, 2]}', "Tensor name: y has no shape information"),
        ("uneven", '{"instances": [1, 2]}', "has inconsistent batch size: "),
        ("id_int32", '{"instances": [1.0]}', "Type: Number is not of expected type: int32"),
        ("id_int64", '{"instances": [9223372036854775808]}', "Type: Number is not of expected type: int64"),
        ("id_bool", '{"instances": [1]}', "Type: Number is not of expected type: bool"),
        ("id_string", '{"instances": [{"b64": "-_8="}]}', "Unable to base64 decode"),
        ("id_float16", '{"instances": [1]}', "Conversion of JSON Value: 1 to type: half"),
        ("fails", '{"instances": [1]}', "{{node Reshape}}]]"),
    ],
)
def test_wrong_values(http, signature, body, error):
    status, text = refused(http, body, signature)
    assert (status, error in text) == (400, True), text


def test_types_that_json_cannot_carry_are_unimplemented_by_column(http):
    for dtype in ("float16", "uint16", "complex64"):
        assert refused(http, '{"inputs": [1]}', f"id_{dtype}")[0] == 501


@pytest.mark.parametrize(
    ("signature", "sent", "received"),
    [
        ("id_float32", "[0.2, 3, 9e6, 16777216, 1e-7, 1e39, -1e39, NaN, Inf, -Infinity]",
            "[0.2, 3.0, 9e+06, 16777216.0, 1e-07, Infinity, -Infinity, NaN, Infinity, -Infinity]"),
        ("id_float64", "[0.3333333333333333, 1e300]", "[0.33333333333333331, 1e+300]"),
        ("id_int8", "[300, -129, 1]", "[44, 127, 1]"),
        ("id_uint8", "[300, -1]", "[44, 255]"),
        ("id_int64", "[9223372036854775807]", "[9223372036854775807]"),
        ("id_uint64", "[18446744073709551615]", "[18446744073709551615]"),
        ("id_bool", "[true, false]", "[true, false]"),
        ("id_string", '["a", {"b64": "YmM="}, {"b64": "YmM"}]', '["a", "bc", "bc"]'),
    ],
)  # fmt: skip
def test_number_formats(http, signature, sent, received):
    status, text = answer(http, f'{{"instances": {sent}}}', signature)
    assert (status, text) == (200, f'{{\n    "predictions": {received[:-1]}\n    ]\n}}')


def test_outputs_by_column(http):
    assert json.loads(answer(http, '{"inputs": {"a": [1], "b": 2, "more": 0}}', "two")[1]) == {
        "outputs": {"sum": [3.0], "b": 2}
    }
    assert json.loads(answer(http, '{"inputs": 2}', "id_float32")[1]) == {"outputs": 2.0}
    assert json.loads(answer(http, '{"inputs": []}', "id_float32")[1]) == {"outputs": []}
    assert json.loads(answer(http, '{"inputs": [1, 2]}', "total")[1]) == {"outputs": 3.0}


def test_outputs_by_row(http):
    assert json.loads(answer(http, '{"instances": [{"a": 1, "b": 2}, {"b": 0, "a": 0}]}', "two")[1]) == {
        "predictions": [{"sum": 3.0, "b": 2}, {"sum": 0.0, "b": 0}]
    }
    assert json.loads(answer(http, '{"instances": [{"x": 1}, {"x": 2}]}', "id_float32")[1]) == {"predictions": [1, 2]}


def test_outputs_named_bytes_are_base64(http):
    encoded = base64.b64encode(b"\xff\x00a").decode()
    body = json.dumps({"instances": [{"b64": encoded}]})
    assert json.loads(answer(http, body, "as_bytes")[1]) == {"predictions": [{"b64": encoded}]}
    both = json.loads(answer(http, '{"instances": ["a"]}', "both")[1])
    assert both == {"predictions": [{"text": "a", "x_bytes": {"b64": "YQ=="}}]}


def test_the_parser_reads_any_depth_and_stops_after_the_document(http):
    assert refused(http, '{"instances": ' + "[" * 500_000 + "]" * 500_000 + "}")[0] == 400
    assert answer(http, ROW + " and junk")[0] == 200
    assert answer(http, ROW.replace("{", '{"unknown": 1, ', 1))[0] == 200


def test_classify_and_regress(http):
    body = '{"context": {"y": 1}, "examples": [{"x": 1.0}, {"x": [6.0]}]}'
    assert json.loads(answer(http, body, "regress", "half:regress")[1]) == {"results": [3.5, 6.0]}
    assert json.loads(answer(http, body, "classify", "half:classify")[1]) == {
        "results": [[["half", 3.5]], [["half", 6.0]]]
    }


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"examples": [{"x": 2}]}', "Data types don't match."),
        ('{"examples": [{"y": 2.0}]}', "is required but could not be found."),
        ('{"examples": [{"x": [1.0, "a"]}]}', "Unexpected element type in feature: x expecting type: float"),
        ('{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
        ('{"examples": [{"x": [[1.0]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        ('{"examples": [{"x": 9223372036854775808}]}', "Only int64_t is supported"),
        ('{"examples": []}', "empty"),
        ("{}", "When method is classify"),
        ('{"examples": [{"x": 1.0}], "signature_name": "S"}', "No signature was found with the name: S"),
    ],
)
def test_wrong_examples(http, body, error):
    signature = "" if "signature_name" in body else "regress"
    status, text = refused(http, body.replace("{}", '{"a": 1}'), signature, "half:regress")
    assert (status, error in text) == (400, True), text


def test_a_request_without_a_model_name_is_told(http):
    # GET /v1/models itself is a list here: TensorFlow Serving has none, and answers with 400.
    assert {entry["name"] for entry in http.get("/v1/models").json()["models"]} == {"half", "zoo"}


def test_http_1_0_is_answered(server):
    host, _, port = server.rest_url.removeprefix("http://").partition("/")[0].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as file:
        connection.sendall(b"GET /v1/models/zoo HTTP/1.0\r\n\r\n")
        assert b"AVAILABLE" in file.read()
