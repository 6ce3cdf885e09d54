"""What is counted, and that nothing of it is lost."""

from __future__ import annotations

import threading

import prometheus
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.metrics import Key, Metrics
from serving.server.metrics.histogram import quantile
from serving.server.metrics.latencies import FINE_BOUNDS, MAX_UNKNOWN_MODELS, Latencies
from serving.server.metrics.recent import Recent
from serving.server.metrics.series import MAX_SERIES

SERVING, BATCHING = ":tensorflow:serving:", ":tensorflow:serving:batching_session:"


def read(metrics: Metrics) -> dict[str, prometheus.Family]:
    return prometheus.parse(metrics.page())


@pytest.mark.parametrize(
    ("api", "entrypoint", "counted"),
    [
        ("Predict", "GRPC", True),
        ("Classify", "GRPC", True),
        ("Regress", "GRPC", True),
        ("MultiInference", "GRPC", False),
        ("GetModelMetadata", "GRPC", False),
        ("GetModelStatus", "GRPC", False),
        ("predict", "REST", True),
        ("", "REST", True),
    ],
)
def test_which_requests_the_original_counts(api, entrypoint, counted):
    metrics = Metrics()
    metrics.request(Key("m", 1, api, entrypoint, "OK"), 0.002)
    metrics.request(Key("m", None, api, entrypoint, "NOT_FOUND"), 0.002)
    families = read(metrics)
    assert families[f"{SERVING}request_count"].total() == 2 * counted
    assert families[f"{SERVING}request_count"].total(status="OK") == counted
    assert families[f"{SERVING}request_latency"].total("_count") == counted, "successes only"
    assert families["cnn_tf_requests_total"].total(method=api, protocol=entrypoint.lower()) == 2
    assert families["cnn_tf_requests_total"].total(version="1", status="OK") == 1
    assert families["cnn_tf_request_duration_seconds"].total("_count") == 2


def test_bytes_of_bodies():
    metrics = Metrics()
    metrics.request(Key("m", 1, "predict", "REST", "OK"), 0.001, received=10, sent=20)
    metrics.request(Key("m", 1, "predict", "REST", "INTERNAL"), 0.001, received=5, sent=2)
    families = read(metrics)
    labels = {"model": "m", "version": "1", "method": "predict", "protocol": "rest"}
    assert families["cnn_tf_received_bytes_total"].value(**labels) == 15
    assert families["cnn_tf_sent_bytes_total"].value(**labels) == 22


def test_labels_and_units_of_latencies():
    metrics = Metrics()
    metrics.request(Key("m", 3, "Predict", "GRPC"), 0.0015)
    metrics.runtime("m", 3, "Predict", 0.001)
    families = read(metrics)
    request, runtime = families[f"{SERVING}request_latency"], families[f"{SERVING}runtime_latency"]
    assert request.value("_sum", model_name="m", API="Predict", entrypoint="GRPC") == 1500
    assert runtime.value("_sum", model_name="m", API="Predict", runtime="TF1") == 1000
    assert families["cnn_tf_runtime_duration_seconds"].value("_sum", model="m", version="3", method="Predict") == 0.001


REQUESTS = st.tuples(
    st.sampled_from(["m", "n"]),
    st.sampled_from(["Predict", "Classify"]),
    st.sampled_from(["GRPC"]),
    st.sampled_from(["OK", "INTERNAL"]),
    st.floats(0, 3000),
    st.sampled_from([None, 1, 2]),
)


@settings(deadline=None)
@given(st.lists(REQUESTS), st.booleans())
def test_families_agree_with_each_other_and_with_what_happened(requests, forget):
    metrics = Metrics()
    for request in requests:
        model, api, entrypoint, status, seconds, version = request
        metrics.request(Key(model, version, api, entrypoint, status), seconds)
    if forget:
        metrics.forget("m", 1)
    families = read(metrics)
    good = [request for request in requests if request[3] == "OK"]
    latency = families[f"{SERVING}request_latency"]
    assert families[f"{SERVING}request_count"].total() == len(requests)
    assert latency.total("_count") == len(good)
    assert latency.total("_sum") == sum(int(request[4] * 1e6) for request in good)
    ours = [request for request in requests if not (forget and request[0] == "m" and request[5] == 1)]
    assert families["cnn_tf_requests_total"].total() == len(ours)
    assert families["cnn_tf_request_duration_seconds"].total("_count") == len(ours)


def test_threads_lose_nothing_while_versions_come_and_go():
    metrics, number, versions = Metrics(), 3000, 40

    def work() -> None:
        for count in range(number):
            metrics.request(Key("m", count % versions, "Predict", "GRPC"), 0.001, received=1, sent=2)
            metrics.batch("m", count % versions, "", 1, 2, 0, [0.001])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for version in range(1, versions):
            metrics.forget("m", version)
        metrics.page()
    families, total = read(metrics), 6 * number
    assert families[f"{SERVING}request_latency"].total("_sum") == total * 1000
    assert families[f"{BATCHING}wrapped_run_count"].total() == total
    assert families[f"{BATCHING}queuing_latency"].total("_count") == total
    assert families["cnn_tf_sent_bytes_total"].total(version="0") == 2 * total / versions


def test_made_up_models_do_not_make_the_page_grow():
    metrics = Metrics(lambda: [("real", 1, "LOADING")])
    for number in range(MAX_UNKNOWN_MODELS + 50):
        metrics.request(Key(f"made-up-{number}", None, "Predict", "GRPC", "NOT_FOUND"), 0.001)
    metrics.request(Key("x" * 1000, None, "Predict", "GRPC", "NOT_FOUND"), 0.001)
    metrics.request(Key("real", None, "Predict", "GRPC", "NOT_FOUND"), 0.001)
    count = read(metrics)[f"{SERVING}request_count"]
    assert count.value(model_name="other", status="NOT_FOUND") == 51
    assert count.value(model_name="real", status="NOT_FOUND") == 1
    assert len(count.samples) == MAX_UNKNOWN_MODELS + 2


def test_series_of_other_families_are_bounded():
    metrics = Metrics()
    for number in range(MAX_SERIES + 10):
        metrics.load(f"/models/m/{number}", 0.001, success=False)
    attempts = read(metrics)[":tensorflow:cc:saved_model:load_attempt_count"]
    assert attempts.value(model_path="other", status="other") == 10
    assert attempts.value(model_path="/models/m/7", status="fail") == 1


def test_batches():
    metrics = Metrics()
    metrics.batch("m", 1, "pool", 2, 3, 1, [0.001, 0.003])
    metrics.batch("m", 1, "pool", 1, 4, 0, [0.0])
    metrics.input_batch(3)
    families = read(metrics)
    assert families[f"{BATCHING}wrapped_run_count"].value() == 2
    assert families[f"{BATCHING}queuing_latency"].value("_sum", thread_pool_name="pool") == 4000
    assert families[f"{BATCHING}processed_batch_size"].value("_sum") == 8
    assert families[f"{BATCHING}padding_size"].value("_sum", execution_batch_size="4") == 1
    assert families[f"{BATCHING}padding_size"].value("_count", execution_batch_size="4") == 2
    assert families[f"{BATCHING}input_batch_size"].value("_sum") == 3
    assert families["cnn_tf_batch_examples"].value("_sum", model="m", version="1") == 7
    assert families["cnn_tf_batch_examples"].value("_bucket", model="m", version="1", le="4") == 2, "4 is within 4"
    assert families["cnn_tf_batch_requests"].value("_sum", model="m", version="1") == 3
    assert families["cnn_tf_padding_examples_total"].value(model="m", version="1") == 1
    assert families["cnn_tf_queue_seconds"].value("_sum", model="m", version="1") == 0.004


def test_runs_of_graphs():
    metrics = Metrics()
    metrics.graph_run(0.002)
    metrics.graph_run(0.004)
    metrics.graph_build(0.5)
    families = read(metrics)
    core = {name: family.total() for name, family in families.items() if name.startswith(":tensorflow:core:graph_")}
    assert core[":tensorflow:core:graph_runs"] == 2
    assert core[":tensorflow:core:graph_run_time_usecs"] == 6000
    assert core[":tensorflow:core:graph_build_calls"] == 1
    assert core[":tensorflow:core:graph_build_time_usecs"] == 500_000


def test_life_of_models():
    metrics = Metrics(lambda: [("m", 2, "AVAILABLE"), ("m", 3, "LOADING")], lambda: [("m", 2, 5)])
    metrics.load("/models/m/2", 0.25, success=True)
    metrics.warmup("/models/m/2", "OK", 9, 0.5)
    metrics.examples("m", 3)
    families = read(metrics)
    assert (
        families[":tensorflow:cc:saved_model:load_attempt_count"].value(model_path="/models/m/2", status="success") == 1
    )
    assert families[":tensorflow:cc:saved_model:load_latency"].value(model_path="/models/m/2") == 250_000
    assert families[f"{SERVING}model_warmup_latency"].value("_sum", model_path="/models/m/2", status="OK") == 500_000
    assert families[f"{SERVING}model_warmup_records_read"].value(model_path="/models/m/2", status="OK") == 9
    assert families[f"{SERVING}request_example_count_total"].value(model="m") == 3
    assert families["cnn_tf_model_version_state"].value(model="m", version="3", state="LOADING") == 1
    assert families["cnn_tf_model_version_state"].total(state="AVAILABLE") == 1
    assert families["cnn_tf_queue_length"].value(model="m", version="2") == 5
    assert families[":tensorflow:core:session_created"].value() == 1


def test_rates_are_of_the_last_seconds():
    now, latencies = [100.0], Latencies()
    recent = Recent(latencies, clock=lambda: now[0])
    for second in range(30):
        for _ in range(second):
            latencies.observe(Key("m", 1, "Predict", "GRPC"), 0.004)
        latencies.observe(Key("n", None, "Predict", "GRPC", "NOT_FOUND"), 0.1)
        now[0] += 1
        rates = recent.rates()
    assert rates["m"].requests_per_second == pytest.approx(sum(range(20, 30)) / 10)
    assert rates["m"].p50 == pytest.approx(0.004, rel=0.16)
    assert rates["n"].errors_per_second == pytest.approx(1)
    assert rates[""].requests == sum(range(30)) + 30
    assert rates[""].errors == 30


@settings(deadline=None)
@given(st.lists(st.integers(20, 10**9), min_size=1), st.sampled_from([0.5, 0.99]))
def test_quantiles_are_right_to_a_sixth(values, share):
    latencies = Latencies()
    for value in values:
        latencies.observe(Key("m", 1, ""), (value + 0.5) / 1e6)
    estimate = quantile(FINE_BOUNDS, latencies.read()[0].counts, share)
    ordered = sorted(values)
    exact = next(value for place, value in enumerate(ordered, 1) if place >= share * len(values))
    assert exact / 1.17 <= estimate <= exact * 1.17
