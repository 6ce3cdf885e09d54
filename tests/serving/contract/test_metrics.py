"""The page for Prometheus: section 5 of TensorFlow Serving's behaviour; values right after known requests."""

from __future__ import annotations

import re

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from contract import predict_request, refusal
from saved_models import CLASSIFY, REGRESS
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server import process

T = ":tensorflow:serving:"
BATCHING = """
max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4 thread_pool_name { value: "pool" }
"""
TYPES = {
    f"{T}request_count": "counter",
    f"{T}request_latency": "histogram",
    f"{T}runtime_latency": "histogram",
    f"{T}request_example_counts": "histogram",
    f"{T}request_example_count_total": "counter",
    f"{T}request_log_count": "counter",
    f"{T}mlmd_map": "gauge",
    f"{T}model_warmup_latency": "histogram",
    f"{T}model_warmup_records_read": "counter",
    f"{T}batching_session:queuing_latency": "histogram",
    f"{T}batching_session:wrapped_run_count": "counter",
    f"{T}batching_session:padding_size": "histogram",
    f"{T}batching_session:input_batch_size": "histogram",
    f"{T}batching_session:processed_batch_size": "histogram",
    ":tensorflow:cc:saved_model:load_attempt_count": "counter",
    ":tensorflow:cc:saved_model:load_latency": "counter",
    ":tensorflow:core:graph_runs": "counter",
    ":tensorflow:core:graph_run_time_usecs": "counter",
    ":tensorflow:core:graph_run_time_usecs_histogram": "histogram",
    ":tensorflow:core:direct_session_runs": "counter",
    ":tensorflow:core:session_created": "gauge",
}


def example(value):
    message = tf.train.Example()
    message.features.feature["x"].float_list.value.append(value)
    return message


def with_examples(message, signature):
    message.model_spec.name, message.model_spec.signature_name = "half", signature
    message.input.example_list.examples.extend([example(1.0), example(2.0)])
    return message


def multi_inference():
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in (("regress", REGRESS), ("classify", CLASSIFY)):
        task = message.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "half", signature
    message.input.example_list.examples.extend([example(1.0), example(2.0), example(3.0)])
    return message


def ask_all(server):
    """3 Predict, 1 of them of no model; 1 Classify, 1 Regress, 1 MultiInference, 1 metadata; and 5 by REST."""
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "half"
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for _ in range(2):
            stub.Predict(predict_request({"x": np.ones((3, 1), np.float32)}, name="half"), timeout=10)
        refusal(stub.Predict, predict_request(name="none"))
        stub.Classify(with_examples(classification_pb2.ClassificationRequest(), "classify"), timeout=10)
        stub.Regress(with_examples(regression_pb2.RegressionRequest(), "regress"), timeout=10)
        stub.MultiInference(multi_inference(), timeout=10)
        stub.GetModelMetadata(metadata, timeout=10)
    for path, body in (
        ("half:predict", '{"instances": [[1.0]]}'),
        ("half:regress", '{"signature_name": "regress", "examples": [{"x": 1.0}]}'),
        ("half:predict", '{"instances": [["a"]]}'),
    ):
        httpx.post(server.rest_url + path, content=body)
    httpx.get(server.rest_url + "half")
    httpx.get(server.rest_url + "none/metadata")


@pytest.fixture(scope="module")
def response(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "batching").write_text(BATCHING)
    (folder / "monitoring").write_text('prometheus_config { enable: true path: "/my/metrics" }')
    arguments = [
        "--model_name=half",
        f"--model_base_path={models}/half",
        "--enable_batching",
        f"--batching_parameters_file={folder}/batching",
        f"--monitoring_config_file={folder}/monitoring",
        "--rest_api_enable_cors_support",
    ]
    with process.running(arguments) as server:
        ask_all(server)
        root = server.rest_url.removesuffix("/v1/models/")
        page = httpx.get(f"{root}/my/metrics")
        assert httpx.get(f"{root}/my/metrics?x=1").status_code == 400
        assert httpx.get(f"{root}/monitoring/prometheus/metrics").status_code == 404
        page.cors = httpx.get(f"{root}/v1/models/half").headers
        yield page


@pytest.fixture(scope="module")
def values(response):
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_page_has_types_and_braces_but_no_help(response):
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert {name: types.get(name) for name in TYPES} == TYPES
    assert not any(line.startswith("# HELP") for line in lines)
    series = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[:a-zA-Z_]+\{.*\} \S+", line) for line in series)


def test_only_the_api_has_cors_headers(response):
    assert response.cors["access-control-allow-origin"] == "*"
    assert response.cors["access-control-allow-methods"] == "POST, GET"
    assert response.cors["access-control-allow-headers"] == "Content-Type"
    assert "access-control-allow-origin" not in response.headers


def test_requests_are_counted_by_model_and_status(values):
    # gRPC's Predict, Classify and Regress; of REST every one.
    counts = {name: value for name, value in values.items() if name.startswith(f"{T}request_count")}
    assert counts == {
        f'{T}request_count{{model_name="half",status="OK"}}': 4 + 3,
        f'{T}request_count{{model_name="half",status="INVALID_ARGUMENT"}}': 1,
        f'{T}request_count{{model_name="none",status="NOT_FOUND"}}': 2,
    }


@pytest.mark.parametrize(
    ("api", "entrypoint", "number"),
    [
        ("Predict", "GRPC", 2),
        ("Classify", "GRPC", 1),
        ("Regress", "GRPC", 1),
        ("predict", "REST", 1),
        ("regress", "REST", 1),
        ("", "REST", 1),
    ],
)
def test_latencies_are_of_good_requests(values, api, entrypoint, number):
    labels = f'model_name="half",API="{api}",entrypoint="{entrypoint}"'
    assert values[f"{T}request_latency_count{{{labels}}}"] == number
    assert values[f"{T}request_latency_sum{{{labels}}}"] > 0


def test_latencies_have_33_buckets(values):
    prefix = f'{T}runtime_latency_bucket{{model_name="half",API="Predict",runtime="TF1",le="'
    bounds = [name.removeprefix(prefix)[:-2] for name in values if name.startswith(prefix)]
    assert bounds == [*(f"{10 * 1.8**i:g}" for i in range(33)), "+Inf"]
    assert values[f'{prefix}+Inf"}}'] == 3


def test_examples_are_counted_for_multi_inference(values):
    assert values[f'{T}request_example_count_total{{model="half"}}'] == 3
    assert values[f'{T}request_example_counts_sum{{model="half"}}'] == 3


def test_batches_are_counted(values):
    session = f"{T}batching_session:"
    runs = values[f"{session}wrapped_run_count{{}}"]
    # 2 Predict of 3 and 1 MultiInference of 3 are padded to 4, Classify and Regress of 2 fit; REST's of 1 are padded to 2.
    assert runs == 7
    assert values[f'{session}padding_size_count{{execution_batch_size="4"}}'] == 3
    assert values[f'{session}padding_size_sum{{execution_batch_size="4"}}'] == 3
    assert values[f'{session}padding_size_sum{{execution_batch_size="2"}}'] == 2
    assert values[f"{session}processed_batch_size_sum{{}}"] == 3 * 4 + 2 * 2 + 2 * 2
    assert values[f"{session}input_batch_size_count{{}}"] == 7
    assert values[f"{session}input_batch_size_sum{{}}"] == 3 * 3 + 2 * 2 + 2
    assert values[f'{session}queuing_latency_count{{thread_pool_name="pool"}}'] == 7


def test_loads_are_counted(values, models):
    path = f"{models}/half/8"
    labels = f'model_path="{path}",status="success"'
    assert values[f":tensorflow:cc:saved_model:load_attempt_count{{{labels}}}"] == 1
    assert values[f':tensorflow:cc:saved_model:load_latency{{model_path="{path}"}}'] > 0
    assert values[":tensorflow:core:session_created{}"] == 1
