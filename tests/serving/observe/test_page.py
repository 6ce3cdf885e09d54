"""The metrics page against the contract's section 5."""

from __future__ import annotations

import prometheus
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.eager import monitoring

from serving.server.metrics import Key, Metrics, page
from serving.server.metrics.batches import SIZES, WAITS
from serving.server.metrics.histogram import Histogram, coarse, exponential, refine
from serving.server.metrics.latencies import BOUNDS

SERVING, CORE, BATCHING = ":tensorflow:serving:", ":tensorflow:core:", ":tensorflow:serving:batching_session:"
THEIRS = {
    f"{SERVING}request_count": "counter",
    f"{SERVING}request_latency": "histogram",
    f"{SERVING}runtime_latency": "histogram",
    f"{SERVING}request_example_counts": "histogram",
    f"{SERVING}request_example_count_total": "counter",
    f"{SERVING}request_log_count": "counter",
    f"{SERVING}mlmd_map": "gauge",
    f"{SERVING}model_warmup_latency": "histogram",
    f"{SERVING}model_warmup_records_read": "counter",
    f"{BATCHING}queuing_latency": "histogram",
    f"{BATCHING}wrapped_run_count": "counter",
    f"{BATCHING}padding_size": "histogram",
    f"{BATCHING}input_batch_size": "histogram",
    f"{BATCHING}processed_batch_size": "histogram",
    ":tensorflow:cc:saved_model:load_attempt_count": "counter",
    ":tensorflow:cc:saved_model:load_latency": "counter",
    f"{CORE}graph_runs": "counter",
    f"{CORE}graph_run_time_usecs": "counter",
    f"{CORE}graph_run_time_usecs_histogram": "histogram",
    f"{CORE}direct_session_runs": "counter",
    f"{CORE}session_created": "gauge",
    f"{CORE}graph_build_calls": "counter",
    f"{CORE}graph_build_time_usecs": "counter",
}
PROCESS = [
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
]


def test_families_are_declared_before_anything_is_counted():
    families = prometheus.parse(Metrics().page())
    assert {name: family.kind for name, family in families.items() if name.startswith(":")} == THEIRS
    assert all(name.startswith((":tensorflow", "cnn_tf_", "process_", "python_")) for name in families)


def test_prometheus_client_accepts_the_page():
    parser = pytest.importorskip("prometheus_client.parser")
    families = list(parser.text_string_to_metric_families(full().page()))
    assert len(families) == len(prometheus.parse(full().page()))


def test_text_is_that_of_the_original():
    histogram = Histogram(exponential(1, 2, 4))
    for value in (2, 20, 200):
        histogram.observe(value)
    families = [
        page.histograms(":b", [((("status", "good"),), histogram.buckets())]),
        page.scalars(":a:count", "counter", [((), 3), ((("name", '"abc\\"'), ("z", "")), 2)]),
    ]
    assert page.text(families) == (
        "# TYPE :a:count counter\n:a:count{} 3\n"
        ':a:count{name="\\"abc\\\\\\"",z=""} 2\n'
        "# TYPE :b histogram\n"
        ':b_bucket{status="good",le="1"} 0\n:b_bucket{status="good",le="2"} 0\n'
        ':b_bucket{status="good",le="4"} 1\n:b_bucket{status="good",le="8"} 1\n'
        ':b_bucket{status="good",le="+Inf"} 3\n'
        ':b_sum{status="good"} 222\n:b_count{status="good"} 3\n'
    )


@pytest.mark.parametrize(
    ("bounds", "first", "growth", "count"), [(BOUNDS, 10, 1.8, 33), (WAITS, 100, 1.2, 52), (SIZES, 1, 2, 14)]
)
def test_bounds_are_those_of_tensorflow(bounds, first, growth, count):
    name = f"/test/{first}/{growth}"
    sampler = monitoring.Sampler(name, monitoring.ExponentialBuckets(first, growth, count), "")
    cell = sampler.get_cell()
    values = [first / 2, *bounds, bounds[-1] * 2]
    histogram = Histogram(bounds)
    for value in values:
        cell.add(value)
        histogram.observe(value)
    theirs = cell.value()
    assert list(bounds) == theirs.bucket_limit[:-1]
    assert histogram.read()[0] == theirs.bucket
    assert len(bounds) == count


def test_latency_bounds_are_printed_with_six_digits():
    lines = full().page().splitlines()
    bounds = [line.split('le="')[1].split('"')[0] for line in lines if line.startswith(f"{SERVING}request_latency_b")]
    assert bounds[:5] == ["10", "18", "32.4", "58.32", "104.976"]
    assert bounds[33] == "+Inf"


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=3, unique=True))
def test_label_values_of_any_text_are_read_back(values):
    points = [((("a", value), ("b", "x")), 1.0) for value in values]
    family = prometheus.parse(page.text([page.scalars("n", "gauge", points)]))["n"]
    assert {labels["a"] for labels in family.labels()} == set(values)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**33)))
def test_refined_buckets_add_up_to_the_coarse_ones(values):
    fine, plain = Histogram(refine(BOUNDS)), Histogram(BOUNDS)
    for value in values:
        fine.observe(value)
        plain.observe(value)
    assert coarse(fine.read()[0]) == plain.read()[0]
    assert refine(BOUNDS)[::4] == BOUNDS


def test_process_metrics_have_the_usual_names():
    families = prometheus.parse(Metrics().page())
    assert all(families[name].value() > 0 for name in PROCESS)
    assert families["python_gc_collections_total"].value(generation="0") >= 0


def full() -> Metrics:
    """Metrics of which every family has a value."""
    metrics = Metrics(lambda: [("m", 1, "AVAILABLE")], lambda: [("m", 1, 3)])
    metrics.request(Key("m", 1, "Predict", "GRPC"), 0.001)
    metrics.runtime("m", 1, "Predict", 0.001)
    metrics.examples("m", 3)
    metrics.input_batch(2)
    metrics.batch("m", 1, "pool", 2, 3, 1, [0.001, 0.002])
    metrics.graph_run(0.001)
    metrics.graph_build(0.1)
    metrics.load("/models/m/1", 0.5, success=True)
    metrics.warmup("/models/m/1", "OK", 7, 0.5)
    return metrics
