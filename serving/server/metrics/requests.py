"""The families of requests and of the models' runs, for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from serving.server.metrics.histogram import coarse
from serving.server.metrics.latencies import BOUNDS, Counted, Key
from serving.server.metrics.page import Buckets, Family, Labels, histograms, scalars
from serving.server.metrics.versions import ENDED

# TensorFlow Serving's own families leave out gRPC's other methods; of REST they count every request.
_THEIRS = {"Predict", "Classify", "Regress"}
_SECONDS = tuple(bound / 1e6 for bound in BOUNDS[::2])

Label = Callable[[Key], Labels]


def request_families(counted: Iterable[Counted]) -> Iterator[Family]:
    """Counts and latencies of requests, by TensorFlow Serving's names and by ours."""
    items = [item.coarse() for item in counted]
    theirs = [item for item in items if item.key.entrypoint != "GRPC" or item.key.api in _THEIRS]
    good = [item for item in theirs if item.key.status == "OK"]
    ours = [item for item in items if item.key.version != ENDED]
    yield _counters(":tensorflow:serving:request_count", theirs, _status_labels)
    yield _distributions(":tensorflow:serving:request_latency", good, _method_labels)
    yield _counters("cnn_tf_requests_total", ours, lambda key: (*_our_labels(key), ("status", key.status)))
    yield _in_seconds("cnn_tf_request_duration_seconds", ours, _our_labels)
    sums = _summed(ours, _our_labels)
    yield scalars("cnn_tf_received_bytes_total", "counter", [(labels, item.received) for labels, item in sums])
    yield scalars("cnn_tf_sent_bytes_total", "counter", [(labels, item.sent) for labels, item in sums])


def runtime_families(counted: Iterable[Counted]) -> Iterator[Family]:
    """Latencies of runs, by TensorFlow Serving's name and by ours."""
    items = [item.coarse() for item in counted]
    ours = [item for item in items if item.key.version != ENDED]
    yield _distributions(":tensorflow:serving:runtime_latency", items, _runtime_labels)
    yield _in_seconds("cnn_tf_runtime_duration_seconds", ours, lambda key: _our_labels(key)[:3])


def _counters(name: str, items: Iterable[Counted], label: Label) -> Family:
    return scalars(name, "counter", [(labels, sum(item.counts)) for labels, item in _summed(items, label)])


def _distributions(name: str, items: Iterable[Counted], label: Label) -> Family:
    sums = _summed(items, label)
    return histograms(name, [(labels, Buckets(BOUNDS, item.counts, item.total)) for labels, item in sums])


def _in_seconds(name: str, items: Iterable[Counted], label: Label) -> Family:
    sums = _summed(items, label)
    return histograms(
        name, [(labels, Buckets(_SECONDS, coarse(item.counts, 2), item.total / 1e6)) for labels, item in sums]
    )


def _summed(items: Iterable[Counted], label: Label) -> list[tuple[Labels, Counted]]:
    """One item for all that have the same labels."""
    sums: dict[Labels, Counted] = {}
    for item in items:
        labels = label(item.key)
        sums[labels] = _sum(sums[labels], item) if labels in sums else item
    return list(sums.items())


def _sum(one: Counted, other: Counted) -> Counted:
    counts = [left + right for left, right in zip(one.counts, other.counts, strict=True)]
    return Counted(one.key, counts, one.total + other.total, one.received + other.received, one.sent + other.sent)


def _status_labels(key: Key) -> Labels:
    return ("model_name", key.model), ("status", key.status)


def _method_labels(key: Key) -> Labels:
    return ("model_name", key.model), ("API", key.api), ("entrypoint", key.entrypoint)


def _runtime_labels(key: Key) -> Labels:
    return ("model_name", key.model), ("API", key.api), ("runtime", "TF1")


def _our_labels(key: Key) -> Labels:
    version = "" if key.version is None else str(key.version)
    return ("model", key.model), ("version", version), ("method", key.api), ("protocol", key.entrypoint.lower())
