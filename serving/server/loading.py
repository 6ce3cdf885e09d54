"""A version's folder to a servable that is warm: engine, batcher and recorded requests put together."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving import errors
from serving.server import engine, examples, inference, session_config, warmup
from serving.server.batching import ADAPTIVE, ALONE, Batcher, Parameters, parameters
from serving.server.calls import Call
from serving.server.engine import EngineOptions, Function
from serving.server.flags import Flags
from serving.server.metrics import Metrics
from serving.server.security.pixels import require_small_pictures
from serving.server.servable import Servable, Watch, wait
from serving.wire.tensors import Array

_log = logging.getLogger(__name__)


class _Counting(Watch):
    """Counts what a version does."""

    def __init__(self, metrics: Metrics, name: str, version: int) -> None:
        self._metrics = metrics
        self._name = name
        self._version = version

    def submitted(self, feeds: Sequence[Array]) -> None:
        self._metrics.input_batch(len(feeds[0]) if feeds and feeds[0].ndim else 1)

    def runtime(self, api: str, seconds: float) -> None:
        self._metrics.runtime(self._name, self._version, api, seconds)

    def watched(self, function: Function) -> Function:
        self._metrics.graph_build(0.0)
        count, clock = self._metrics.graph_run, time.perf_counter

        def counted(*arrays: Any, seconds: float | None = None) -> Any:
            begin = clock()
            result = function(*arrays, seconds=seconds)
            count(clock() - begin)
            return result

        return counted

    def closed(self) -> None:
        self._metrics.forget(self._name, self._version)


class Loader:
    """Loads versions as the flags say."""

    def __init__(self, flags: Flags, metrics: Metrics) -> None:
        """Raises InvalidArgument for batching parameters or a session's configuration that cannot be read."""
        self._options = engine_options(flags)
        self._batching = _batching(flags)
        self._per_model_batching = flags.enable_batching and flags.enable_per_model_batching_parameters
        self._metrics = metrics
        self._warm_up = flags.enable_model_warmup
        self._iterations = flags.num_request_iterations_for_warmup
        limit = flags.max_image_pixels
        self._guard: Callable[[Mapping[str, Array]], None] | None = (
            functools.partial(require_small_pictures, limit=limit) if limit else None
        )

    def __call__(self, name: str, version: int, path: Path) -> Servable:
        """The model in the folder `path`. Raises ServingError."""
        begin = time.perf_counter()
        try:
            servable = self._load(name, version, path)
        except errors.ServingError:
            self._metrics.load(str(path), time.perf_counter() - begin, success=False)
            raise
        seconds = time.perf_counter() - begin
        self._metrics.load(str(path), seconds, success=True)
        try:
            warm = self._warmed_up(servable, path)
        except Exception:
            servable.close()
            raise
        _log.info("Model %s: loaded %s in %.2f s: %s%s", name, path, seconds, servable.summary, warm and f"; {warm}")
        return servable

    def _load(self, name: str, version: int, path: Path) -> Servable:
        batching = parameters.for_version(path, self._batching) if self._per_model_batching else self._batching
        loaded = engine.load(path, self._options)
        quick_rows = 0
        if batching is ADAPTIVE:
            batching = dataclasses.replace(ADAPTIVE, max_batch_size=loaded.best_batch)
            quick_rows = loaded.quick_rows
        try:
            observe = functools.partial(self._metrics.batch, name, version, batching.thread_pool_name)
            batcher = Batcher(loaded.slots, batching, observe, quick_rows=quick_rows)
        except Exception:
            loaded.close()
            raise
        return Servable(
            name,
            version,
            loaded,
            batcher,
            joins_all=batching.is_strict,
            watch=_Counting(self._metrics, name, version),
            guard=self._guard,
        )

    def _warmed_up(self, servable: Servable, path: Path) -> str:
        if not self._warm_up:
            return ""
        begin = time.perf_counter()
        try:
            count = warmup.warm_up(servable, path, iterations=self._iterations, runs=RUNS)
        except errors.ServingError as error:
            self._metrics.warmup(str(path), f"{error.code.name}: {error.message}", 0, time.perf_counter() - begin)
            raise
        if not count:
            return ""
        seconds = time.perf_counter() - begin
        self._metrics.warmup(str(path), "OK", count, seconds)
        return f"ran {count} warm-up requests in {seconds:.2f} s"


def engine_options(flags: Flags) -> EngineOptions:
    """What the flags say of how models are run. Raises InvalidArgument."""
    return EngineOptions(
        saved_model_tags=flags.saved_model_tags,
        intra_op_parallelism=flags.tensorflow_intra_op_parallelism,
        inter_op_parallelism=flags.tensorflow_inter_op_parallelism,
        session_parallelism=flags.tensorflow_session_parallelism,
        session_config=session_config.read(file) if (file := flags.tensorflow_session_config_file) else None,
        mixed_precision=flags.mixed_precision,
        prefer_tflite=flags.prefer_tflite_model,
        num_tflite_pools=flags.num_tflite_pools,
        num_tflite_interpreters_per_pool=flags.num_tflite_interpreters_per_pool,
        xla_cpu_compilation=flags.xla_cpu_compilation_enabled,
        per_process_gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        optimise=flags.optimize,
    )


def _batching(flags: Flags) -> Parameters:
    if not flags.enable_batching:
        return ADAPTIVE
    if flags.batching_parameters_file:
        return parameters.from_file(flags.batching_parameters_file)
    return (
        ALONE if flags.enable_per_model_batching_parameters else Parameters(thread_pool_name=ADAPTIVE.thread_pool_name)
    )


def _run_examples(api: str, servable: Servable, request: Any) -> None:
    """Replays a Classify or Regress request."""
    task = examples.task(servable, request.model_spec.signature_name, examples.KINDS[api])
    serialized = examples.serialized(request.input.SerializeToString())
    wait(functools.partial(examples.run, servable, [task], serialized, Call()))


def _run_multi_inference(servable: Servable, request: Any) -> None:
    named = [inference.named(task, servable.name) for task in request.tasks]
    serialized = examples.serialized(request.input.SerializeToString())
    wait(functools.partial(examples.run, servable, examples.tasks(servable, named), serialized, Call()))


RUNS: Mapping[str, warmup.Run] = {
    **warmup.RUNS,
    "classify_log": functools.partial(_run_examples, "Classify"),
    "regress_log": functools.partial(_run_examples, "Regress"),
    "multi_inference_log": _run_multi_inference,
}
