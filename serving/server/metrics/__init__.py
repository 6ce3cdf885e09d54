"""What a server tells Prometheus: TensorFlow Serving's metrics by their names, ours beside them.

Names that begin with ":tensorflow" are the original's, in microseconds; ours begin with "cnn_tf_" and are in seconds. An
observation costs about a microsecond and may be made from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from serving.server.metrics import batches, requests
from serving.server.metrics.histogram import exponential
from serving.server.metrics.latencies import BOUNDS, Key, Latencies, PlainKey
from serving.server.metrics.page import Family, scalars, text
from serving.server.metrics.process import Process
from serving.server.metrics.recent import Rates, Recent
from serving.server.metrics.series import Counters, Histograms

__all__ = ["Key", "Metrics", "Rates"]

STATES = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")


class Metrics:
    """All that is counted in one server.

    statuses: tells at any moment the (model, version, state) of every version, states as in GetModelStatus.
    queues: tells at any moment how many requests wait, as (model, version, number).
    """

    def __init__(
        self,
        statuses: Callable[[], Iterable[tuple[str, int, str]]] = tuple,
        queues: Callable[[], Iterable[tuple[str, int, int]]] = tuple,
    ) -> None:
        self._statuses = statuses
        self._queues = queues
        self._requests = Latencies(self._is_served)
        self._runtimes = Latencies()
        self._batches = batches.Batches()
        self._counters = _Counters()
        self._distributions = _Distributions()
        self._process = Process()
        self._recent = Recent(self._requests)

    # Requests.

    def request(self, key: PlainKey, seconds: float, received: int = 0, sent: int = 0) -> None:
        """A request was answered, `seconds` after its first byte was read; see `Key` for what it was.

        received, sent: bytes of the request's and the answer's bodies.
        """
        self._requests.observe(key, seconds, received, sent)

    def runtime(self, model: str, version: int, api: str, seconds: float) -> None:
        """A model ran for a request, waiting for its batch included; of REST too `api` is "Predict" and so on."""
        self._runtimes.observe((model, version, api, "", "OK"), seconds)

    def examples(self, model: str, number: int) -> None:
        """A MultiInference request held so many examples."""
        self._distributions.examples.observe(number, model)
        self._counters.examples.add(number, model)

    # Batches and runs.

    def input_batch(self, examples: int) -> None:
        """A request of so many examples is handed to the batcher."""
        self._batches.inputs.observe(examples)

    def batch(
        self,
        model: str,
        version: int,
        thread_pool: str,
        requests: int,
        examples: int,
        padding: int,
        queue_seconds: Sequence[float],
    ) -> None:
        """A batch of `requests` with `examples` together, and `padding` more to fill it, runs; each request has waited."""
        waits = [int(seconds * 1e6) for seconds in queue_seconds]
        self._batches.at(model, version, thread_pool).observe(requests, examples, padding, waits)

    def graph_run(self, seconds: float) -> None:
        """TensorFlow ran a graph once, for a request or for a batch."""
        self._batches.runs.observe(int(seconds * 1e6))

    def graph_build(self, seconds: float) -> None:
        """A function of a new set of inputs and outputs was made ready."""
        self._counters.graph_builds.add(1)
        self._counters.graph_build_time.add(int(seconds * 1e6))

    # The life of models.

    def load(self, path: str, seconds: float, *, success: bool) -> None:
        """A version was loaded from its folder, or could not be."""
        self._counters.load_attempts.add(1, path, "success" if success else "fail")
        self._counters.load_time.add(int(seconds * 1e6), path)

    def warmup(self, path: str, status: str, records: int, seconds: float) -> None:
        """A version's warm-up requests were replayed; `status` is "OK", or the first error as "CODE: text"."""
        self._distributions.warmup.observe(int(seconds * 1e6), path, status)
        self._counters.warmup_records.add(records, path, status)

    def forget(self, model: str, version: int) -> None:
        """The version is served no more: our families by version end; TensorFlow Serving's keep its counts."""
        for counted in (self._requests, self._runtimes, self._batches):
            counted.forget(model, version)

    # What is read.

    @property
    def resident_bytes(self) -> int:
        """Memory that the process occupies."""
        return self._process.resident_bytes

    def recent(self) -> dict[str, Rates]:
        """Requests of the last ten seconds by model, and of all models under "". To be called about once a second."""
        return self._recent.rates()

    def value(self, name: str) -> int:
        """The first value of a counter by its name in TensorFlow's spelling, with slashes; 0 if there is none."""
        begin = name.replace("/", ":") + "{"
        values = (line.rpartition(" ")[2] for line in self.page().splitlines() if line.startswith(begin))
        return int(float(next(values, 0)))

    def page(self) -> str:
        """The text that Prometheus reads."""
        return text(self._families())

    def _is_served(self, name: str) -> bool:
        return any(model == name for model, _, _ in self._statuses())

    def _families(self) -> Iterator[Family]:
        yield from requests.request_families(self._requests.read())
        yield from requests.runtime_families(self._runtimes.read())
        yield from self._batches.families()
        for series in chain(vars(self._counters).values(), vars(self._distributions).values()):
            yield series.family()
        yield from self._model_families()
        yield from self._process.families()

    def _model_families(self) -> Iterator[Family]:
        statuses = list(self._statuses())
        states = [
            ((("model", model), ("version", str(version)), ("state", state)), float(state == current))
            for model, version, current in statuses
            for state in STATES
        ]
        loaded = any(state == "AVAILABLE" for _, _, state in statuses)
        waiting = [((("model", model), ("version", str(version))), number) for model, version, number in self._queues()]
        yield scalars("cnn_tf_model_version_state", "gauge", states)
        yield scalars("cnn_tf_queue_length", "gauge", waiting)
        yield scalars(":tensorflow:core:session_created", "gauge", [((), float(loaded))])
        # Nothing of these is ever counted: there is no collector of requests, and no ML Metadata.
        yield scalars(":tensorflow:serving:request_log_count", "counter", [])
        yield scalars(":tensorflow:serving:mlmd_map", "gauge", [])


class _Counters:
    def __init__(self) -> None:
        self.examples = Counters(":tensorflow:serving:request_example_count_total", "model")
        self.warmup_records = Counters(":tensorflow:serving:model_warmup_records_read", "model_path", "status")
        self.load_attempts = Counters(":tensorflow:cc:saved_model:load_attempt_count", "model_path", "status")
        self.load_time = Counters(":tensorflow:cc:saved_model:load_latency", "model_path")
        self.graph_builds = Counters(":tensorflow:core:graph_build_calls")
        self.graph_build_time = Counters(":tensorflow:core:graph_build_time_usecs")


class _Distributions:
    def __init__(self) -> None:
        self.examples = Histograms(":tensorflow:serving:request_example_counts", "model", bounds=exponential(1, 2, 15))
        self.warmup = Histograms(":tensorflow:serving:model_warmup_latency", "model_path", "status", bounds=BOUNDS)
