"""ModelService, health and reflection: section 1 of TensorFlow Serving's behaviour."""

from __future__ import annotations

import grpc
import pytest
from contract import model_config, predict_request, refusal
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import proto_reflection_descriptor_database as reflection
from saved_models import half_plus_two
from support import until
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.server import process

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, UNKNOWN = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN


def status_request(name="half", *, version=None, label=None):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = name
    if version is not None:
        message.model_spec.version.value = version
    if label:
        message.model_spec.version_label = label
    return message


def states(service, message):
    found = service.GetModelStatus(message, timeout=10).model_version_status
    names = get_model_status_pb2.ModelVersionStatus.State.Name
    return [(entry.version, names(entry.state), entry.status.error_code) for entry in found]


@pytest.mark.parametrize(
    ("message", "versions"),
    [
        (status_request(), [8, 7]),
        (status_request(version=7), [7]),
        (status_request(label="stable"), [8, 7]),
        (status_request(label="unknown"), [8, 7]),
    ],
)
def test_status_tells_all_versions_or_the_one_asked_for(model_service, message, versions):
    assert states(model_service, message) == [(version, "AVAILABLE", 0) for version in versions]


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), INVALID, "Missing ModelSpec"),
        (status_request("none"), NOT_FOUND, "Could not find any versions of model none"),
        (status_request(""), NOT_FOUND, "Could not find any versions of model "),
        (status_request(version=3), NOT_FOUND, "Could not find version 3 of model half"),
        (status_request("none", version=3), NOT_FOUND, "Could not find version 3 of model none"),
    ],
)
def test_what_has_no_status(model_service, message, code, text):
    assert refusal(model_service.GetModelStatus, message) == (code, text)


def test_health_has_bare_names(channel):
    check = health_pb2_grpc.HealthStub(channel).Check
    for name in ("", "ModelService", "PredictionService"):
        assert check(health_pb2.HealthCheckRequest(service=name), timeout=10).status == 1
    request = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
    assert refusal(check, request)[0] is NOT_FOUND


def test_reflection_names_the_services(channel):
    names = set(reflection.ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names


def reload_request(text, *metrics):
    message = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
    text_format.Parse(text, message.config)
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reload")
    half_plus_two(folder / "a" / "1")
    half_plus_two(folder / "b" / "1")
    (folder / "bad" / "3").mkdir(parents=True)
    (folder / "bad" / "3" / "saved_model.pb").write_bytes(b"\xff" * 50)
    (folder / "none").mkdir()
    return folder


@pytest.fixture(scope="module")
def reloadable(folder):
    config = folder / "models.config"
    config.write_text(model_config(f'name: "a", base_path: "{folder}/a"'))
    with (
        process.running([f"--model_config_file={config}", "--max_num_load_retries=0"]) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def reload(reloadable):
    return model_service_pb2_grpc.ModelServiceStub(reloadable).HandleReloadConfigRequest


A = 'name: "a", base_path: "/m/a"'


@pytest.mark.parametrize(
    ("text", "code", "details"),
    [
        (
            "",
            INVALID,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
        ),
        (model_config(A, A), INVALID, "Illegal to list model a multiple times in config list"),
        (
            model_config('name: "a", base_path: "m/a"'),
            INVALID,
            "Expected model a to have an absolute path or URI; got base_path()=m/a",
        ),
        (
            'model_config_list { config { name: "n", base_path: "/m", model_platform: "pytorch" } }',
            INVALID,
            "Model n requests unsupported platform pytorch",
        ),
        (
            'model_config_list { config { name: "a", base_path: "/m", model_platform: "pytorch" } }',
            INVALID,
            "Illegal to change a model's platform. ",
        ),
        (model_config(A + ' version_labels { key: "l" value: 9 }'), PRECONDITION,
            "Request to assign label to version 9 of model a, which is not currently available for inference"),
    ],
)  # fmt: skip
def test_refused_reloads_change_nothing(reload, reloadable, text, code, details):
    actual = refusal(reload, reload_request(text))
    assert (actual[0], actual[1].startswith(details)) == (code, True), actual
    predict = prediction_service_pb2_grpc.PredictionServiceStub(reloadable).Predict
    assert predict(predict_request({"x": [[1.0]]}, name="a"), timeout=10).outputs["y"].float_val == [2.5]


def test_a_reload_replaces_the_list(reload, reloadable, folder):
    service = model_service_pb2_grpc.ModelServiceStub(reloadable)
    only_b = model_config(f'name: "b", base_path: "{folder}/b"')
    metric = "/tensorflow/cc/saved_model/load_attempt_count"
    response = reload(reload_request(only_b, "/no/such", metric), timeout=60)
    assert (response.status.error_code, [m.name for m in response.metric]) == (0, ["/no/such", metric])
    assert response.metric[0].int64_value_increase == 0
    assert states(service, status_request("b")) == [(1, "AVAILABLE", 0)]
    predict = prediction_service_pb2_grpc.PredictionServiceStub(reloadable).Predict
    # Models that are gone are unloaded in the background, and told of for ever.
    until(lambda: states(service, status_request("a")) == [(1, "END", 0)], 30)
    assert refusal(predict, predict_request({"x": [[1.0]]}, name="a"))[0] is NOT_FOUND
    both = model_config(f'name: "a", base_path: "{folder}/a"', f'name: "b", base_path: "{folder}/b"')
    reload(reload_request(both), timeout=60)
    assert states(service, status_request("a")) == [(1, "AVAILABLE", 0)]


def test_a_new_model_that_fails(reload, reloadable, folder):
    text = model_config(f'name: "a", base_path: "{folder}/a"', f'name: "bad", base_path: "{folder}/bad"')
    code, details = refusal(reload, reload_request(text), timeout=60)
    assert code is UNKNOWN
    assert details.startswith("1 model(s) did not become available: {{{name: bad version: 3} due to error: "), details
    service = model_service_pb2_grpc.ModelServiceStub(reloadable)
    ((version, state, error),) = states(service, status_request("bad"))
    assert (version, state, error > 0) == (3, "END", True)


def test_a_new_model_without_versions_does_not_hang(reload, folder):
    text = model_config(f'name: "a", base_path: "{folder}/a"', f'name: "none", base_path: "{folder}/none"')
    code, details = refusal(reload, reload_request(text), timeout=60)
    assert (code, "did not become available: {{{name: none}" in details) == (UNKNOWN, True), details
