"""GetModelStatus and HandleReloadConfigRequest, on messages as they travel."""

from __future__ import annotations

import time

import pytest
from fake_models import check, publish, remove
from support import until
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving.errors import FailedPrecondition, InvalidArgument, NotFound, ServingError
from serving.server import model_service
from serving.server.calls import Call, answer, by_path
from serving.server.config import ModelConfig
from serving.server.manager import Manager, Settings
from serving.server.policies import All

pytestmark = pytest.mark.usefixtures("quick")

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


@pytest.fixture
def manager(tmp_path, loader):
    publish(tmp_path / "m", 1)
    publish(tmp_path / "m", 2, "bad")
    manager = Manager(
        [ModelConfig("m", tmp_path / "m", All(), {"l": 1})], loader, Settings(poll_seconds=0.01, check=check)
    )
    manager.start()
    yield manager
    manager.stop(10)


@pytest.fixture
def ask(manager):
    """Calls a method; returns its response, or raises its error."""
    counts = iter(range(100, 200, 7))
    methods = by_path(model_service.methods(manager, lambda name: next(counts) if name == "/known" else 0))

    def call(path, request, deadline=None):
        replies = []
        data = request if isinstance(request, bytes) else request.SerializeToString()
        answer(methods[path], data, Call(deadline=deadline), replies.append)
        (reply,) = replies
        if isinstance(reply, ServingError):
            raise reply
        response = (
            get_model_status_pb2.GetModelStatusResponse if path == STATUS else model_management_pb2.ReloadConfigResponse
        )
        return response.FromString(reply)

    return call


def status_request(name="m", **spec):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    return request


def reload_request(*models, metrics=()):
    request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
    request.config.model_config_list.SetInParent()
    for model in models:
        request.config.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
    return request


def test_only_the_reload_blocks(manager):
    assert {method.path: method.blocking for method in model_service.methods(manager)} == {STATUS: False, RELOAD: True}


def test_all_versions_are_told_the_highest_first(ask):
    response = ask(STATUS, status_request())
    assert [(entry.version, entry.state) for entry in response.model_version_status] == [(2, 50), (1, 30)]
    failed, available = response.model_version_status
    assert (failed.status.error_code, failed.status.error_message) == (15, "this version is bad")
    assert (available.status.error_code, available.status.error_message) == (0, "")
    assert available.HasField("status")


def test_one_version_may_be_asked_for_and_a_label_is_ignored(ask):
    assert [entry.version for entry in ask(STATUS, status_request(version=1)).model_version_status] == [1]
    for label in ("l", "unknown"):
        assert len(ask(STATUS, status_request(label=label)).model_version_status) == 2


@pytest.mark.parametrize(
    ("path", "request_", "code", "text"),
    [
        (STATUS, b"", InvalidArgument, "Missing ModelSpec"),
        (STATUS, status_request("x"), NotFound, "Could not find any versions of model x"),
        (STATUS, status_request(""), NotFound, "Could not find any versions of model "),
        (STATUS, status_request(version=7), NotFound, "Could not find version 7 of model m"),
        (
            RELOAD,
            b"",
            InvalidArgument,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
        ),
        (
            RELOAD,
            reload_request(*[{"name": "a", "base_path": "/a"}] * 2),
            InvalidArgument,
            "Illegal to list model a multiple times in config list",
        ),
        (
            RELOAD,
            reload_request({"name": "", "base_path": "/a"}),
            InvalidArgument,
            "A model needs a name, by which requests ask for it. Received none for the base path /a.",
        ),
        (
            RELOAD,
            reload_request({"name": "a", "base_path": "a"}),
            InvalidArgument,
            "Expected model a to have an absolute path or URI; got base_path()=a",
        ),
        (
            RELOAD,
            reload_request({"name": "m", "base_path": "/m", "model_platform": "p"}),
            InvalidArgument,
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is p",
        ),
        (
            RELOAD,
            reload_request({"name": "a", "base_path": "/a", "model_platform": "p"}),
            InvalidArgument,
            "Model a requests unsupported platform p",
        ),
        (
            RELOAD,
            reload_request({"name": "m", "base_path": "/m", "version_labels": {"l": 2}}),
            FailedPrecondition,
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        ),
    ],
)
def test_errors(ask, path, request_, code, text):
    with pytest.raises(ServingError) as error:
        ask(path, request_)
    assert (type(error.value), error.value.message) == (code, text)


@pytest.mark.parametrize("path", [STATUS, RELOAD])
def test_what_is_no_message_is_refused(ask, path):
    with pytest.raises(InvalidArgument):
        ask(path, b"\xff\xff")


def test_a_reload_serves_other_models(ask, manager, tmp_path):
    publish(tmp_path / "n", 5)
    row = {"name": "n", "base_path": str(tmp_path / "n")}
    response = ask(RELOAD, reload_request(row))
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert manager.names == ["n"]
    with manager.borrow("n") as lent:
        assert lent.version == 5
    until(lambda: {entry.state for entry in ask(STATUS, status_request()).model_version_status} == {50})


def test_a_reload_moves_labels_and_policies(ask, manager, tmp_path):
    publish(tmp_path / "m", 3)
    until(lambda: manager.statuses("m")[0].state.name == "AVAILABLE")
    row = {"name": "m", "base_path": str(tmp_path / "m"), "version_labels": {"l": 3}}
    ask(RELOAD, reload_request({**row, "model_version_policy": {"specific": {"versions": [3]}}}))
    with manager.borrow("m", label="l") as lent:
        assert lent.version == 3
    until(lambda: manager.statuses("m", 1)[0].state.name == "END")


def test_a_new_model_that_fails_is_told(ask, tmp_path):
    remove(tmp_path / "m", 1)
    with pytest.raises(ServingError) as error:
        ask(RELOAD, reload_request({"name": "n", "base_path": str(tmp_path / "m")}))
    assert type(error.value) is ServingError  # UNKNOWN
    assert error.value.message == (
        "1 model(s) did not become available: {{{name: n version: 2} due to error: DATA_LOSS: this version is bad}, }"
    )


def test_a_reload_waits_no_longer_than_its_caller(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.server.storage.SETTLE_SECONDS", 1000.0)
    monkeypatch.setattr("serving.server.model.PENDING_SECONDS", 1000.0)
    publish(tmp_path / "n", 1)
    with pytest.raises(ServingError, match="Its files still change"):
        ask(RELOAD, reload_request({"name": "n", "base_path": str(tmp_path / "n")}), time.monotonic() + 0.1)


def test_increases_of_metrics_are_told(ask, tmp_path):
    row = {"name": "m", "base_path": str(tmp_path / "m")}
    response = ask(RELOAD, reload_request(row, metrics=["/known", "/unknown"]))
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/known", 7),
        ("/unknown", 0),
    ]
