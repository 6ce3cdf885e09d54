"""`python -m serving.server` and `tensorflow_model_server` as scripts start them, asked by the official stubs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import forks
import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from saved_models import save
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import process

ORIGINAL = [sys.executable, "-c", forks.ORIGINAL]
OURS = [sys.executable, "-m", "serving.server"]
FAST = ["--file_system_poll_wait_seconds=0.1", "--drain_seconds=20"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """x -> version times x, versions 1 and 2 of the model `times`; and a classifier of tf.Examples."""

    def times(factor):
        return lambda x: {"y": factor * x}

    def classify(examples):
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature((2,), tf.float32)})["x"]
        return {"scores": parsed, "classes": tf.broadcast_to(["a", "b"], tf.shape(parsed))}

    folder = tmp_path_factory.mktemp("models")
    floats, texts = tf.TensorSpec((None,), name="x"), tf.TensorSpec((None,), tf.string, name="inputs")
    for version in (1, 2):
        path = folder / "times" / str(version)
        save(path, serving_default=(times(float(version)), floats), classify=(classify, texts))
    return folder


def config(saved, **labels):
    """A ModelServerConfig of both versions under the given labels."""
    written = model_management_pb2.ReloadConfigRequest().config
    model = written.model_config_list.config.add(
        name="times", base_path=str(saved / "times"), model_platform="tensorflow"
    )
    model.model_version_policy.specific.versions.extend([1, 2])
    for label, version in labels.items():
        model.version_labels[label] = version
    return written


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def server(request, saved, tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "models.config"
    file.write_text(str(config(saved, stable=1)))
    flags = [f"--model_config_file={file}", f"--grpc_transport={request.param}", *FAST]
    with process.running([*flags, "--allow_version_labels_for_unavailable_models"]) as running:
        yield running


def times(stub, **spec):
    """What the model of a version or label makes of 1; highest version without."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "times"
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones(1, np.float32)))
    return stub.Predict(request, timeout=20).outputs["y"].float_val[0]


def test_predict_by_version_and_label(stub):
    assert [times(stub), times(stub, version=1), times(stub, label="stable")] == [2, 1, 1]
    for spec, code in (({"version": 9}, "NOT_FOUND"), ({"label": "none"}, "INVALID_ARGUMENT")):
        with pytest.raises(grpc.RpcError) as error:
            times(stub, **spec)
        assert error.value.code().name == code


def test_classify(stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "times", "classify"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.extend([0.25, 0.75])
    (answer,) = stub.Classify(request, timeout=20).result.classifications
    assert [(each.label, each.score) for each in answer.classes] == [("a", 0.25), ("b", 0.75)]


def test_metadata_status_and_health(stub, model_service, channel):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "times"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(asked, timeout=20).metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "classify"} <= set(signatures.signature_def)
    wanted = get_model_status_pb2.GetModelStatusRequest(model_spec=asked.model_spec)
    states = model_service.GetModelStatus(wanted, timeout=20).model_version_status
    assert {entry.version: entry.state for entry in states} == {1: 30, 2: 30}
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_a_reload_moves_labels_and_adds_models(saved, stub, model_service):
    request = model_management_pb2.ReloadConfigRequest(config=config(saved, stable=2, canary=1))
    other = request.config.model_config_list.config.add()
    other.CopyFrom(request.config.model_config_list.config[0])
    other.name = "other"
    assert model_service.HandleReloadConfigRequest(request, timeout=60).status.error_code == 0
    assert [times(stub, label=label) for label in ("stable", "canary")] == [2, 1]
    wanted = get_model_status_pb2.GetModelStatusRequest()
    wanted.model_spec.name = "other"
    assert len(model_service.GetModelStatus(wanted, timeout=20).model_version_status) == 2
    former = model_management_pb2.ReloadConfigRequest(config=config(saved, stable=1))
    assert model_service.HandleReloadConfigRequest(former, timeout=60).status.error_code == 0
    assert times(stub, label="stable") == 1


def run(command, *arguments):
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=200)


def test_check_tells_whether_models_are_fit_and_opens_no_port(saved, tmp_path):
    good = run(OURS, saved, "--check", "--port=1")
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "All good.")
    bad = shutil.copytree(saved, tmp_path / "models") / "times" / "2" / "saved_model.pb"
    bad.write_bytes(bad.read_bytes()[:1000])
    told = run(OURS, bad.parent.parent.parent, "--check")
    assert (told.returncode, told.stdout.splitlines()[-1]) == (1, "1 of 1 cannot be served.")
    assert "Traceback" not in told.stderr


def test_a_script_that_starts_the_original_is_served_until_sigterm(saved):
    flags = ["--port=auto", "--model_name=times", f"--model_base_path={saved / 'times'}", *FAST]
    with subprocess.Popen([*ORIGINAL, *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as started:
        try:
            address = started.stdout.readline().split()[2]
            with grpc.insecure_channel(address.replace("0.0.0.0", "127.0.0.1")) as channel:
                assert times(prediction_service_pb2_grpc.PredictionServiceStub(channel)) == 2
        finally:
            started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0


@pytest.mark.parametrize(
    ("flags", "last"),
    [
        (["--help"], "\t--"),
        (["--port=many", "--model_base_path=/m"], "\t--"),
        (["--model_base_path=/m", "--port=auto", "--use_alts_credentials"], "Failed to start server. Error: INVALID"),
    ],
)
def test_the_original_ends_with_255_whatever_is_wrong(flags, last):
    ended = run(ORIGINAL, *flags)
    assert ended.returncode == 255
    assert ended.stdout.splitlines()[-1].startswith(last)
    assert "Traceback" not in ended.stderr
