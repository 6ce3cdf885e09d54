"""Sessions with threads of their own, and functions on arrays that run in the calling thread."""

from __future__ import annotations

import math
import os
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client import pywrap_tf_session as tf_session

from serving import errors
from serving.server.engine.options import EngineOptions

Function: TypeAlias = Callable[..., Sequence[Any]]
"""Arrays in feed order -> arrays in fetch order; raises ServingError. `seconds=` says for how long somebody waits for them: a
run that loops is then ended."""

Pools: TypeAlias = "queue.SimpleQueue[int]"
"""Numbers of those that no run is in."""

# Without it TensorFlow gives all sessions of a process the thread pool of the first one. It is read when the first session
# is made, not when TensorFlow is imported.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
# TensorFlow's allocator of its own, for oneDNN, gives nothing back to the system: the memory of the largest model that ever
# was loaded is never free again.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

CALLING_THREAD = -1
# So many runs that may be ended go on at once. Each has a pool of one thread: it can be ended only from another thread than
# its own, one that loops without end holds up no other, and with more threads the pool would hand small operations around.
STOPPABLE_RUNS = 8


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def config(options: EngineOptions, intra_op_threads: int) -> config_pb2.ConfigProto:
    """Settings of a session whose operations use `intra_op_threads` threads each (0: as many as there are processors)."""
    if options.session_config is not None:
        return _given(options.session_config)
    made = config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads or cpus(),
        # All else runs in the thread that asks for it.
        session_inter_op_thread_pool=[config_pb2.ThreadPoolOptionProto(num_threads=1)] * STOPPABLE_RUNS,
        use_per_session_threads=True,
        allow_soft_placement=True,
    )
    if options.per_process_gpu_memory_fraction:
        made.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    if options.xla_cpu_compilation:
        made.graph_options.optimizer_options.global_jit_level = config_pb2.OptimizerOptions.ON_1
        made.graph_options.optimizer_options.cpu_global_jit = True
    # A session keeps no more copies of the graph, constants and all, than it needs to run.
    made.graph_options.place_pruned_graph = True
    made.experimental.optimize_for_static_graph = True
    made.experimental.disable_output_partition_graphs = True
    return made


def _given(serialized: bytes) -> config_pb2.ConfigProto:
    try:
        return config_pb2.ConfigProto.FromString(serialized)
    except message.DecodeError as error:
        raise errors.InvalidArgument("The session configuration is not a serialized ConfigProto") from error


def function(session: Any, feeds: Sequence[str], fetches: Sequence[str]) -> Function:
    """Runs the graph from tensors called `feeds` to those called `fetches`. Strings come as object arrays of bytes.

    The public `make_callable` casts inputs silently to the wanted type and refuses shapes that the graph could run; this
    hands arrays to the session as they are, as TensorFlow Serving does. And it runs in the calling thread: for a small network
    waking another thread costs more than the arithmetic.
    """
    if not set(feeds).isdisjoint(fetches):
        return _handing_on(feeds, fetches, lambda rest: function(session, feeds, rest))
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = CALLING_THREAD
    try:
        run = session._make_callable_from_options(options)
    except tf.errors.OpError as error:
        raise _told(error) from error

    def call(*arrays: Any, seconds: float | None = None) -> Sequence[Any]:
        try:
            result: Sequence[Any] = run(*arrays)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise _told(error) from error
        return result

    return call


def _handing_on(feeds: Sequence[str], fetches: Sequence[str], make: Callable[[Sequence[str]], Function]) -> Function:
    """Of `fetches` those that are fed are handed on as they come, which TensorFlow refuses to do; `make` makes the rest."""
    rest = [fetch for fetch in fetches if fetch not in feeds]
    run = make(rest) if rest else None

    def call(*arrays: Any, seconds: float | None = None) -> Sequence[Any]:
        computed = dict(zip(feeds, arrays, strict=True))
        if run is not None:
            computed |= zip(rest, run(*arrays, seconds=seconds), strict=True)
        return [computed[fetch] for fetch in fetches]

    return call


def pools(session: Any) -> Pools:
    """The pools of a session for runs that may be ended; a session that was configured otherwise has one for all."""
    free: Pools = queue.SimpleQueue()
    count = len(session._config.session_inter_op_thread_pool)
    for number in range(STOPPABLE_RUNS):
        free.put(number if number < count else 0)
    return free


def stoppable(session: Any, feeds: Sequence[str], fetches: Sequence[str], free: Pools) -> Function:
    """The same for a graph with loops, whose runs take any time; `free` are the session's pools."""
    if not set(feeds).isdisjoint(fetches):
        return _handing_on(feeds, fetches, lambda rest: stoppable(session, feeds, rest, free))
    tensor = session.graph.get_tensor_by_name
    try:
        inputs = [tensor(name)._as_tf_output() for name in feeds]
        outputs = [tensor(name)._as_tf_output() for name in fetches]
        session._extend_graph()
    except (KeyError, ValueError) as error:
        raise errors.NotFound(str(error)) from error

    def run(options: config_pb2.RunOptions, arrays: Sequence[Any]) -> Sequence[Any]:
        buffer = tf_session.TF_NewBufferFromString(options.SerializeToString())
        try:
            given = dict(zip(inputs, arrays, strict=True))
            result: Sequence[Any] = tf_session.TF_SessionRun_wrapper(session._session, buffer, given, outputs, [], None)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            raise _told(error) from error
        finally:
            tf_session.TF_DeleteBuffer(buffer)
        return result

    def call(*arrays: Any, seconds: float | None = None) -> Sequence[Any]:
        if seconds is None:
            return run(config_pb2.RunOptions(inter_op_thread_pool=CALLING_THREAD), arrays)
        end = time.monotonic() + seconds
        try:
            pool = free.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            raise errors.DeadlineExceeded("Runs that take long left no time for this one") from None
        try:
            milliseconds = max(1, math.ceil((end - time.monotonic()) * 1000))
            return run(config_pb2.RunOptions(inter_op_thread_pool=pool, timeout_in_ms=milliseconds), arrays)
        finally:
            free.put(pool)

    return call


def _told(error: tf.errors.OpError | UnicodeDecodeError) -> errors.ServingError:
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow's text quotes bytes of the request, and its status is lost while Python reads the text.
        return errors.InvalidArgument(bytes(error.object).decode(errors="replace"))
    return errors.from_number(error.error_code, error.message)
