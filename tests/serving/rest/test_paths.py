from __future__ import annotations

import pytest

from serving.server.rest import paths

ENTRY = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/model:predict",
        "/V1/MODELS/model/VERSIONS/1:PREDICT",
        "/v1/models/model/versions/00000001:predict",
        "/v1/models/model/labels/stable:predict",
        "/v1/models/model/labels/st%61ble:predict",
        "/v1/models/m%6Fdel:predict",
        "/v1/models/a%2Fb%3Ac:predict",
    ],
)
def test_paths_of_predict(ask, path):
    assert ask("POST", path, {"instances": [1.5]}).json() == {"predictions": [1.5]}


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/models/model:predict"),
        ("POST", "/v1/models/model"),
        ("POST", "/v1/models/model:explain"),
        ("POST", "/v1/models/model/versions/x:predict"),
        ("POST", "/v1/models/model:predict?x=1"),
        ("POST", "/v1/models/a/b:predict"),
        ("GET", "/v1/models/model?x=1"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/other"),
        ("PUT", "/v1/models/model"),
        ("DELETE", "/v1/models/model"),
        ("PATCH", "/v1/models/model:predict"),
    ],
)
def test_anything_else_below_v1_is_malformed(ask, verb, path):
    response = ask(verb, path, b"" if verb in ("POST", "PUT", "PATCH") else None)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.text == f'{{\n    "error": "Malformed request: {verb} {path}"\n}}'


def test_head_is_malformed_and_has_no_body(ask):
    response = ask("HEAD", "/v1/models/model")
    assert (response.status_code, response.content) == (400, b"")


@pytest.mark.parametrize("path", ["/", "/other", "/v2/models/model", "/v1"])
def test_outside_of_the_api_there_is_a_page(ask, path):
    response = ask("GET", path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/html"
    assert "<TITLE>404 Not Found</TITLE>" in response.text


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("digits", [str(2**63), "9" * 5000])
def test_versions_beyond_64_bits(ask, verb, digits):
    path = f"/v1/models/model/versions/{digits}" + (":predict" if verb == "POST" else "")
    response = ask(verb, path, b"{}" if verb == "POST" else None)
    assert response.status_code == 400
    assert response.json()["error"] == f"Failed to convert version: {digits} to numeric."


def test_the_highest_version_is_looked_for(ask):
    path = f"/v1/models/model/versions/{2**63 - 1}:predict"
    assert ask("POST", path, {"instances": [1]}).status_code == 404
    assert paths.parse("POST", path).version == 2**63 - 1


@pytest.mark.parametrize("path", ["/v1/models/versions/1", "/v1/models/labels/x"])
def test_a_version_without_a_model(ask, path):
    # "versions" could be a model's name, but then no "/1" can follow.
    response = ask("GET", path)
    assert (response.status_code, response.json()) == (400, {"error": "Missing model name in request."})


def test_lookup_errors(ask):
    def told(path):
        response = ask("POST", path, {"instances": [1]})
        return response.status_code, response.json()["error"]

    assert told("/v1/models/none:predict") == (404, "Servable not found for request: Latest(none)")
    assert told("/v1/models/model/versions/7:predict") == (404, "Servable not found for request: Specific(model, 7)")
    assert told("/v1/models/model/labels/x:predict") == (400, "Unrecognized servable version label: x")


@pytest.mark.parametrize("path", ["/versions/1", "", "/labels/any"])
def test_status(ask, path):
    response = ask("GET", f"/v1/models/model{path}")
    found = response.json()["model_version_status"]
    assert response.status_code == 200
    assert found[-1] == ENTRY
    assert len(found) == (1 if "versions" in path else 2)  # labels are ignored


def test_status_is_written_as_protobuf_writes_it(ask):
    failed = '  {\n   "version": "2",\n   "state": "END",\n   "status": {\n    "error_code": "NOT_FOUND",\n'
    assert ask("GET", "/v1/models/model").text.startswith('{\n "model_version_status": [\n' + failed)
    response = ask("GET", "/v1/models/none")
    assert (response.status_code, response.json()["error"]) == (404, "Could not find any versions of model none")


def test_metadata(ask):
    response = ask("GET", "/v1/models/model/versions/1/METADATA")
    answer = response.json()
    assert response.text.startswith('{\n"model_spec":{\n "name": "model",\n')
    assert answer["model_spec"] == {"name": "model", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["id_int64"]["inputs"]["x"]["dtype"] == "DT_INT64"
    assert signatures["id_int64"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert ask("GET", "/v1/models/none/metadata").status_code == 404
    assert not ask.manager.lending


def test_models_are_listed(ask):
    versions = [{"version": "2", "state": "END"}, {"version": "1", "state": "AVAILABLE"}]
    assert ask("GET", "/v1/models").json() == {"models": [{"name": "model", "versions": versions}]}


def test_health(ask):
    assert ask("GET", "/v1/health/live").json() == {"live": True}
    assert ask("GET", "/v1/health/ready").json() == {"ready": True, "not_ready": []}
    ask.manager.unready.append("late")
    response = ask("GET", "/v1/health/ready")
    ask.manager.unready.clear()
    assert (response.status_code, response.json()) == (503, {"ready": False, "not_ready": ["late"]})
