"""What flags and files change, seen from outside of real servers that were started with them."""

from __future__ import annotations

import re
import shutil

import grpc
import httpx
import numpy as np
import pytest
import saved_models
import tensorflow as tf
from contract import model_config, predict_request, refusal, write_warm_up, zoo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from saved_models import half_plus_two
from support import until
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import Unavailable
from serving.server import process

Code = grpc.StatusCode
State = get_model_status_pb2.ModelVersionStatus.State


def odd(folder):
    """A version whose signatures have a method_name that no API knows; `half` answers in half precision."""
    x = tf.TensorSpec((None,), tf.float32, "x")
    saved_models.save(
        folder, serving_default=(lambda x: {"y": x * 2}, x), half=(lambda x: {"y": tf.cast(x, tf.float16)}, x)
    )
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    message.meta_graphs[0].signature_def["serving_default"].method_name = "odd/method"
    file.write_bytes(message.SerializeToString())
    return folder


def replace(file, text):
    """As a careful editor does: nobody sees half of it."""
    aside = file.with_suffix(".new")
    aside.write_text(text)
    aside.rename(file)


class Clients:
    """Stubs and addresses of a server."""

    def __init__(self, server, channel):
        self.server = server
        self.channel = channel
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.reload, self._status = models.HandleReloadConfigRequest, models.GetModelStatus

    def states(self, name):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            found = self._status(request, timeout=10).model_version_status
        except grpc.RpcError as error:
            return error.code()
        return [(entry.version, State.Name(entry.state)) for entry in found]

    def url(self, path):
        return self.server.rest_url.removesuffix("/v1/models/") + path


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    half_plus_two(folder / "half" / "1")
    zoo(folder / "zoo" / "1")
    odd(folder / "odd" / "1")
    shutil.copytree(folder / "half", folder / "cold")
    write_warm_up(folder / "cold" / "1", b"\xff\xff")
    return folder


@pytest.fixture(scope="module")
def config(sources, tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "models.config"
    file.write_text(config_of(sources, "zoo", "odd", "cold"))
    return file


def config_of(sources, *names, labels=""):
    return model_config(*(f'name: "{n}", base_path: "{sources / n}" {labels if n == "half" else ""}' for n in names))


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def clients(request, config, tmp_path_factory):
    """Of a server with many flags, none of which is at its default."""
    socket = tmp_path_factory.mktemp("socket") / "grpc"
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--model_name=ignored",
        "--model_base_path=/no/such",
        f"--grpc_transport={request.param}",
        f"--grpc_socket_path={socket}",
        "--bind_address=[::]",
        "--enable_serialization_as_tensor_content",
        "--enable_signature_method_name_check",
        "--enable_profiler=false",
        "--enable_model_warmup=false",
    ]
    with process.running(flags) as server, grpc.insecure_channel(f"unix:{socket}") as channel:
        yield Clients(server, channel)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64", "bool", "int8", "uint64"])
def test_numbers_are_raw_bytes(clients, dtype):
    for count in (0, 1, 3):
        x = np.ones(count, tf.as_dtype(dtype).as_numpy_dtype)
        (answer,) = clients.predict(predict_request({"x": x}, signature=f"id_{dtype}"), timeout=10).outputs.values()
        assert answer.tensor_content == x.tobytes()
        assert tf.make_ndarray(answer).tolist() == x.tolist()


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_both_families_are_listened_on(clients, address):
    port = clients.server.grpc_address.rpartition(":")[2]
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        grpc.channel_ready_future(channel).result(20)
    rest = re.sub(r"//.*:(\d+)/", rf"//{address}:\1/", clients.url("/v1/models/zoo"))
    assert httpx.get(rest).status_code == 200


def test_method_names_are_checked(clients):
    expected = (
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: odd/method"
    )
    assert refusal(clients.predict, predict_request({"x": [1.0]}, name="odd")) == (Code.INTERNAL, expected)

    def ask(method, **body):
        response = httpx.post(clients.url(f"/v1/models/odd:{method}"), json=body)
        return response.status_code, response.json()["error"]

    assert ask("predict", instances=[1.0]) == (500, expected)
    for method, noun in (("classify", "classification"), ("regress", "regression")):
        code, text = ask(method, examples=[{"x": 1.0}])
        assert (code, text.endswith("Was: odd/method")) == (400, True), noun


def test_half_precision_is_no_json(clients):
    response = httpx.post(clients.url("/v1/models/odd:predict"), json={"signature_name": "half", "instances": [1.0]})
    assert response.status_code == 400
    assert response.json()["error"] == "Failed to write JSON value for tensor type: half"


def test_there_is_no_profiler(clients):
    method = clients.channel.unary_unary("/tensorflow.ProfilerService/Profile")
    assert refusal(method, b"")[0] == Code.UNIMPLEMENTED


def test_what_would_fail_to_warm_up_is_loaded(clients):
    assert clients.states("cold") == [(1, "AVAILABLE")]
    assert "model_warmup_records_read{" not in httpx.get(clients.url("/monitoring/prometheus/metrics")).text


def test_the_models_are_those_of_the_file(clients):
    assert clients.states("ignored") == Code.NOT_FOUND


def test_the_file_is_read_again(clients, config, sources):
    before = config.read_text()
    labels = 'version_labels { key: "stable" value: 1 }'
    by_label = predict_request({"x": [[2.0]]}, name="half", label="stable")
    replace(config, config_of(sources, "zoo", "odd", "cold", "half", labels=labels))
    until(lambda: clients.states("half") == [(1, "AVAILABLE")])
    until(lambda: is_answered(clients.predict, by_label))
    replace(config, config_of(sources, "zoo", "odd", "cold", "half"))
    until(lambda: not is_answered(clients.predict, by_label))
    assert refusal(clients.predict, by_label) == (
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )
    replace(config, "no config")
    replace(config, before)
    until(lambda: clients.states("half") == [(1, "END")])


def is_answered(method, request):
    try:
        method(request, timeout=10)
    except grpc.RpcError:
        return False
    return True


@pytest.mark.parametrize("seconds", [0, -1])
def test_the_disk_is_not_polled(sources, tmp_path, seconds):
    """0: only at the start and at a reload; less: only at a reload."""
    base = shutil.copytree(sources / "half", tmp_path / "half")
    flags = ["--model_name=half", f"--model_base_path={base}", f"--file_system_poll_wait_seconds={seconds}"]
    with process.running(flags) as server, grpc.insecure_channel(server.grpc_address) as channel:
        clients = Clients(server, channel)
        at_start = clients.states("half")
        assert at_start == ([(1, "AVAILABLE")] if seconds == 0 else Code.NOT_FOUND)
        shutil.copytree(base / "1", tmp_path / "aside").rename(base / "2")
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.config.add(name="half", base_path=str(base), model_platform="tensorflow")
        counted = ":tensorflow:serving:request_count"
        request.metric_names.append(counted)
        assert clients.states("half") == at_start
        response = clients.reload(request, timeout=60)
        assert [metric.name for metric in response.metric] == [counted]
        until(lambda: clients.states("half") in ([(2, "AVAILABLE")], [(2, "AVAILABLE"), (1, "END")]))


def test_a_watcher_of_health_hears_of_the_end(sources):
    flags = ["--model_name=half", f"--model_base_path={sources / 'half'}"]
    with process.running(flags) as server, grpc.insecure_channel(server.grpc_address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_large_messages_go_both_ways(server):
    x = np.arange(6_000_000, dtype=np.float32)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc_address, options) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        answer = predict(predict_request({"x": x}, signature="id_float32"), timeout=60)
    assert np.array_equal(answer.outputs["y"].float_val, x)


def test_batches_of_a_wrong_size_fail_the_load(sources, tmp_path):
    file = tmp_path / "batching"
    file.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 8")
    flags = ["--model_name=half", f"--model_base_path={sources / 'half'}", "--enable_batching"]
    flags += [f"--batching_parameters_file={file}", "--max_num_load_retries=0"]
    with pytest.raises(Unavailable, match="Last entry in allowed_batch_sizes must match max_batch_size"):  # noqa: SIM117
        with process.running(flags):
            pass


def test_warm_up_requests_are_counted(sources, tmp_path):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request({"x": [[1.0]]}, name="half"))
    shutil.copytree(sources / "half", tmp_path / "cold")
    version = shutil.copytree(sources / "half", tmp_path / "half") / "1"
    write_warm_up(version, *[log.SerializeToString()] * 3)
    with process.running([str(tmp_path)]) as server:
        page = httpx.get(server.rest_url.removesuffix("/v1/models/") + "/monitoring/prometheus/metrics").text
    read = re.findall(r"model_warmup_records_read\{(.*)\} (\d+)", page)
    assert read == [(f'model_path="{version}",status="OK"', "3")]


def test_metrics_may_be_off(sources, tmp_path):
    file = tmp_path / "monitoring"
    file.write_text("prometheus_config { enable: false }")
    flags = ["--model_name=half", f"--model_base_path={sources / 'half'}", f"--monitoring_config_file={file}"]
    with process.running(flags) as server:
        address = server.rest_url.removesuffix("/v1/models/")
        assert httpx.get(address + "/monitoring/prometheus/metrics").status_code == 404
        assert httpx.get(address + "/v1/models/half").status_code == 200
