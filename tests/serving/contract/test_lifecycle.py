"""Section 3: versions on disk, policies, swaps, failures and warm-up, seen from outside a server."""

from __future__ import annotations

import shutil

import grpc
import pytest
from contract import model_config, predict_request, write_warm_up
from saved_models import half_plus_two
from support import until
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import process

State = get_model_status_pb2.ModelVersionStatus.State


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return half_plus_two(tmp_path_factory.mktemp("source") / "1")


def add(source, folder, *names):
    """Versions under these names, complete at once."""
    for name in names:
        shutil.copytree(source, folder.parent / "aside")
        folder.mkdir(exist_ok=True)
        (folder.parent / "aside").rename(folder / name)


def predict_log(signature=""):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request({"x": [[1.0]]}, name="whatever", signature=signature))
    return log.SerializeToString()


WARM_UPS = {
    "warm": [predict_log(), predict_log(), b""],
    "failing": [predict_log(), predict_log("S")],
    "unparsable": [b"\xff\xff"],
    "session_run": [prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString()],
    "many": [b""] * 1001,
    "no_records": [],
}
POLICIES = {
    "latest": "",
    "latest_two": ", model_version_policy { latest { num_versions: 2 } }",
    "all": ", model_version_policy { all {} }",
    "specific": ", model_version_policy { specific { versions: 1 versions: 2 versions: 99 } }",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("models")
    add(source, folder / "names", "00000123", "2.denied", "tmp", "v1", "0.1", "20170111173521")
    for name in POLICIES:
        add(source, folder / name, "1", "2", "10")
    for name in ("swap", "broken", "gone", "lost"):
        add(source, folder / name, "1")
    for name, records in WARM_UPS.items():
        add(source, folder / name, "1")
        write_warm_up(folder / name / "1", *records)
    add(source, folder / "no_records_file", "1")
    (folder / "no_records_file" / "1" / "assets.extra").mkdir()
    add(source, folder / "not_records", "1")
    (folder / "not_records" / "1" / "assets.extra").mkdir()
    (folder / "not_records" / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no records at all" * 9)
    return folder


@pytest.fixture(scope="module")
def channel(folder):
    others = ["swap", "broken", "gone", "lost", *WARM_UPS, "no_records_file", "not_records"]
    policies = {**POLICIES, "names": POLICIES["all"], **dict.fromkeys(others, "")}
    config = folder / "models.config"
    config.write_text(
        model_config(*(f'name: "{name}", base_path: "{folder / name}"{policy}' for name, policy in policies.items()))
    )
    arguments = [f"--model_config_file={config}", "--file_system_poll_wait_seconds=1", "--max_num_load_retries=0"]
    with process.running(arguments) as server, grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def status(channel):
    method = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus

    def status(name):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        found = method(request, timeout=10).model_version_status
        return [(e.version, State.Name(e.state), e.status.error_code, e.status.error_message) for e in found]

    return status


def states(status):
    return [(version, state) for version, state, *_ in status]


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("names", [20170111173521, 123]),
        ("latest", [10]),
        ("latest_two", [10, 2]),
        ("all", [10, 2, 1]),
        ("specific", [2, 1]),
    ],
)
def test_names_and_policies(status, name, versions):
    assert states(status(name)) == [(version, "AVAILABLE") for version in versions]


def test_a_new_version_takes_over(status, source, folder, channel):
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    add(source, folder / "swap", "2")
    until(lambda: states(status("swap")) == [(2, "AVAILABLE"), (1, "END")], 30)
    assert status("swap")[1][2:] == (0, "")
    assert predict(predict_request({"x": [[1.0]]}, name="swap"), timeout=10).model_spec.version.value == 2
    # And the old one comes back if the new one is removed.
    shutil.rmtree(folder / "swap" / "2")
    until(lambda: states(status("swap")) == [(2, "END"), (1, "AVAILABLE")], 30)


def test_a_version_that_fails_leaves_the_old_one_serving(status, folder):
    (folder / "aside_broken").mkdir()
    (folder / "aside_broken" / "saved_model.pb").write_bytes(b"\xff" * 100)
    (folder / "aside_broken").rename(folder / "broken" / "2")
    until(lambda: states(status("broken")) == [(2, "END"), (1, "AVAILABLE")], 30)
    assert status("broken")[0][2] != 0
    assert status("broken")[0][3]


def test_no_version_left_unloads_all_and_no_base_path_changes_nothing(status, folder):
    shutil.rmtree(folder / "lost")
    shutil.rmtree(folder / "gone" / "1")
    until(lambda: states(status("gone")) == [(1, "END")], 30)
    assert states(status("lost")) == [(1, "AVAILABLE")]


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("failing", grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "S" not found.'),
        ("unparsable", grpc.StatusCode.INVALID_ARGUMENT, "Failed to parse warmup record: "),
        ("session_run", grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup: "),
        ("many", grpc.StatusCode.INVALID_ARGUMENT, "Number of warmup records exceeds the maximum (1000) at "),
        ("not_records", grpc.StatusCode.DATA_LOSS, "Please verify your warmup data is in TFRecord format."),
    ],
)
def test_a_failing_warm_up_fails_the_load(status, name, code, text):
    ((version, state, error, message),) = status(name)
    assert (version, state, error, text in message) == (1, "END", code.value[0], True), message


@pytest.mark.parametrize("name", ["warm", "no_records", "no_records_file"])
def test_a_good_warm_up(status, name):
    assert states(status(name)) == [(1, "AVAILABLE")]
