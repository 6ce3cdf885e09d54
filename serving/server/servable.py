"""One loaded version of a model: its signatures, what they want, and how a request is run. Knows nothing of gRPC or HTTP."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.batching import Batcher
from serving.server.calls import Call, as_serving_error
from serving.server.engine import Engine, Function
from serving.wire.tensors import Array

DEFAULT_SIGNATURE = "serving_default"
METHOD_NAMES = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")
# Sets of outputs that a signature is compiled for; a client that asks for more of them gets all outputs, picked from.
MAX_PLANS = 64

Outputs: TypeAlias = dict[str, Array]
"""Arrays by output name."""
Done: TypeAlias = Callable[["Outputs | errors.ServingError"], None]
"""Takes the outputs, or why there are none; called exactly once, from a thread of the batcher."""


class Watch:
    """Who is told what a servable does; this one notes nothing."""

    def submitted(self, feeds: Sequence[Array]) -> None:
        """A request with these inputs goes to the batcher."""

    def runtime(self, api: str, seconds: float) -> None:
        """A run for a request of `api` went well; `seconds` with its waiting."""

    def watched(self, function: Function) -> Function:
        """The function as it is to be run; made once for each set of inputs and outputs."""
        return function

    def closed(self) -> None:
        """The version is gone."""


@dataclass(frozen=True)
class _Input:
    """What a signature wants of an input."""

    name: str
    dtype: np.dtype[Any]
    rank: int | None  # None: any
    row: tuple[int, ...] | None
    """The shape of one row; None for text, and where a size is open: such rows take any time."""


@dataclass(frozen=True)
class _Plan:
    """How a signature is run for one set of outputs."""

    inputs: tuple[_Input, ...]  # in feed order
    names: frozenset[str]  # of them
    outputs: tuple[str, ...]  # in fetch order
    function: Function
    joinable: bool  # whether requests may share a batch

    def named(self, feeds: Sequence[Array]) -> dict[str, Array]:
        """The arrays by the names of the inputs."""
        return {wanted.name: feed for wanted, feed in zip(self.inputs, feeds, strict=True)}


class Servable:
    """A model's version; safe to use from many threads."""

    def __init__(
        self,
        name: str,
        version: int,
        engine: Engine,
        batcher: Batcher,
        *,
        joins_all: bool = False,
        watch: Watch | None = None,
        guard: Callable[[Mapping[str, Array]], None] | None = None,
    ) -> None:
        """Takes engine and batcher over.

        joins_all: requests share runs even where the engine does not know whether they may.
        guard: sees all inputs; may raise ServingError.
        """
        self._watch = watch or Watch()
        self._guard = guard
        self._joins_all = joins_all
        self.name = name
        self.version = version
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = engine.signatures
        self.batcher = batcher
        self._engine = engine
        self._functions: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Function, bool]] = {}
        self._plans: dict[tuple[str, tuple[str, ...]], _Plan] = {}

    @property
    def summary(self) -> str:
        """How the model is run, for people."""
        return self._engine.summary

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name` ("": serving_default). Raises FailedPrecondition if there is none."""
        try:
            return self.signatures[name or DEFAULT_SIGNATURE]
        except KeyError:
            raise errors.FailedPrecondition(f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.') from None

    def submit(
        self, inputs: Mapping[str, Array], signature_name: str, output_filter: Sequence[str], call: Call, done: Done
    ) -> None:
        """Runs a signature ("": serving_default) on `inputs`, perhaps together with other requests.

        output_filter: names of the outputs wanted; none: all.

        Raises FailedPrecondition for an unknown signature, InvalidArgument for wrong inputs; all else comes to `done`.
        """
        signature = self.signature(signature_name)
        known = self._plans.get((signature_name or DEFAULT_SIGNATURE, ()))
        if known is None or inputs.keys() != known.names:
            inputs = _completed(inputs, signature)
        if output_filter or known is None:
            plan = self._plan(signature_name or DEFAULT_SIGNATURE, signature, output_filter)
        else:
            plan = known
        feeds = [inputs[wanted.name] for wanted in plan.inputs]
        quick = plan.joinable
        for feed, wanted in zip(feeds, plan.inputs, strict=True):
            if feed.dtype != wanted.dtype:
                raise errors.InvalidArgument(_wrong_type(plan, wanted, feed))
            if not feed.shape or feed.shape[1:] != wanted.row:
                quick = False
                if self._engine.needs_ranks and wanted.rank not in (None, feed.ndim):
                    raise errors.InvalidArgument(_shape_hint(plan.named(feeds), signature).lstrip())
        if self._guard:
            self._guard(inputs)
        begin = time.perf_counter()

        def finish(result: Sequence[Any] | Exception) -> None:
            if isinstance(result, Exception):
                done(_told(result, plan.named(feeds), signature))
            else:
                self._told_of_run("Predict", time.perf_counter() - begin, call)
                outputs = dict(zip(plan.outputs, map(_as_array, result), strict=True))
                done({name: outputs[name] for name in output_filter} if output_filter else outputs)

        self._watch.submitted(feeds)
        self.batcher.submit(plan.function, feeds, call, finish, joinable=plan.joinable, quick=quick)

    def submit_examples(
        self,
        api: str,
        feed: str,
        fetches: Sequence[str],
        examples: Array,
        call: Call,
        done: Callable[[Any], None],
    ) -> None:
        """Feeds `examples`, string (N,), to a tensor by its name in the graph.

        api: "Classify", "Regress" or "MultiInference". `done` takes a list of arrays or a ServingError.
        """
        if self._guard:
            self._guard({"inputs": examples})
        begin = time.perf_counter()

        def finish(result: Sequence[Any] | Exception) -> None:
            if isinstance(result, Exception):
                done(_told(result))
            else:
                self._told_of_run(api, time.perf_counter() - begin, call)
                done([_as_array(value) for value in result])

        function, joinable = self._function((feed,), tuple(fetches))
        self._watch.submitted([examples])
        self.batcher.submit(function, [examples], call, finish, joinable=joinable)

    def run(self, inputs: Mapping[str, Array], signature_name: str = "", output_filter: Sequence[str] = ()) -> Outputs:
        """The same, waiting for the outputs. Raises ServingError."""
        outputs: Outputs = wait(functools.partial(self.submit, inputs, signature_name, output_filter, Call()))
        return outputs

    def close(self) -> None:
        """Frees the model; no request may be running."""
        self.batcher.close()
        self._plans.clear()
        self._functions.clear()
        self._engine.close()
        self._watch.closed()

    def _told_of_run(self, api: str, seconds: float, call: Call) -> None:
        self._watch.runtime(api, seconds)
        if call.span is not None:
            call.span.event("run", seconds=seconds)

    def _plan(self, name: str, signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> _Plan:
        key = (name, tuple(output_filter))
        plan = self._plans.get(key)
        if plan is None:
            outputs = _selected(signature, output_filter)
            if len(self._plans) >= MAX_PLANS:
                key, outputs = (name, ()), sorted(signature.outputs)
            plan = self._plans.setdefault(key, self._make_plan(signature, outputs))
        return plan

    def _make_plan(self, signature: meta_graph_pb2.SignatureDef, outputs: Sequence[str]) -> _Plan:
        feeds = tuple(signature.inputs[name].name for name in sorted(signature.inputs))
        fetches = tuple(signature.outputs[name].name for name in outputs)
        function, joinable = self._function(feeds, fetches)
        return _Plan(
            tuple(_wanted(name, signature.inputs[name]) for name in sorted(signature.inputs)),
            frozenset(signature.inputs),
            tuple(outputs),
            function,
            joinable,
        )

    def _function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> tuple[Function, bool]:
        """From tensors to tensors, the same object each time; and whether requests may share a run of it."""
        found = self._functions.get((feeds, fetches))
        if found is None:
            function = self._watch.watched(self._engine.function(feeds, fetches))
            joinable = self._joins_all or self._engine.joinable(feeds, fetches)
            found = self._functions.setdefault((feeds, fetches), (function, joinable))
        return found


def wait(submit: Callable[[Callable[[Any], None]], None]) -> Any:
    """What `submit` hands to its `done`. Raises ServingError if that is one."""
    results: list[Any] = []
    finished = threading.Event()

    def done(result: Any) -> None:
        results.append(result)
        finished.set()

    submit(done)
    finished.wait()
    if isinstance(results[0], errors.ServingError):
        raise results[0]
    return results[0]


def _as_array(value: Any) -> Array:
    """TensorFlow gives scalars as NumPy's, and a scalar string as bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def _wanted(name: str, info: meta_graph_pb2.TensorInfo) -> _Input:
    rank = tf.TensorShape(info.tensor_shape).rank
    sizes = tuple(int(dim.size) for dim in info.tensor_shape.dim[1:])
    takes_any_time = not rank or info.dtype == types_pb2.DT_STRING or -1 in sizes
    return _Input(name, np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype), rank, None if takes_any_time else sizes)


def _completed(inputs: Mapping[str, Array], signature: meta_graph_pb2.SignatureDef) -> Mapping[str, Array]:
    """The inputs with the signature's defaults filled in. Raises InvalidArgument if some are missing or too many."""
    require_names(inputs, signature)
    return {
        name: inputs[name] if name in inputs else tf.make_ndarray(signature.defaults[name]) for name in signature.inputs
    }


def require_predict_method(signature: meta_graph_pb2.SignatureDef) -> None:
    """Raises Internal unless the signature's method_name is one that Predict takes (--enable_signature_method_name_check)."""
    if signature.method_name not in METHOD_NAMES:
        raise errors.Internal(
            f"Expected prediction signature method_name to be one of {{{', '.join(METHOD_NAMES)}}}. "
            f"Was: {signature.method_name}"
        )


def require_names(inputs: Iterable[str], signature: meta_graph_pb2.SignatureDef) -> None:
    """Raises InvalidArgument unless the inputs are the signature's; those that have a default may be absent."""
    sent, wanted, defaults = set(inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise errors.InvalidArgument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != len({_set(wanted)}). "
            f"Sent extra: {_set(sent - wanted)}. Missing but required: {_set(wanted - sent)}."
        )
    if absent := sorted(wanted - sent - defaults):
        name = absent[0]
        raise errors.InvalidArgument(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) not found in request and no default "
            f"value provided. Inputs expected to be in the request {_set(wanted)}, or default input alias set: "
            f"{','.join(sorted(defaults))}"
        )
    if sent - wanted:
        raise errors.InvalidArgument(
            f"Inputs contains invalid name. Used request inputs: {_set(sent & wanted)}, request input: {_set(sent)}"
        )


def _wrong_type(plan: _Plan, wanted: _Input, feed: Array) -> str:
    expected, given = (_type_name(tf.as_dtype(dtype)) for dtype in (wanted.dtype, feed.dtype))
    return f"Expects arg[{plan.inputs.index(wanted)}] to be {expected} but {given} is provided (input {wanted.name!r})"


def _type_name(dtype: tf.DType) -> str:
    """As TensorFlow's C++ code calls it: float, double, uint8, ..."""
    name: str = types_pb2.DataType.Name(dtype.as_datatype_enum)
    return name.removeprefix("DT_").lower()


def _selected(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    for position, name in enumerate(output_filter):
        if name not in signature.outputs:
            raise errors.InvalidArgument(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if name in output_filter[:position]:
            raise errors.InvalidArgument(f"duplicate output tensor alias: {name}")
    return list(output_filter) or sorted(signature.outputs)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _told(
    error: Exception, inputs: Mapping[str, Array] | None = None, signature: meta_graph_pb2.SignatureDef | None = None
) -> errors.ServingError:
    """What a client is told when a run failed."""
    told = as_serving_error(error, "Running a model")
    hint = _shape_hint(inputs, signature) if inputs and signature else ""
    return type(told)(told.message + hint) if hint else told


def _shape_hint(inputs: Mapping[str, Array], signature: meta_graph_pb2.SignatureDef) -> str:
    """What the signature says of shapes, where an input contradicts it.

    TensorFlow Serving accepts any shape and leaves the user with the text of some inner op (tensorflow/serving#1436).
    """
    hints = []
    for name, array in inputs.items():
        wanted = tf.TensorShape(signature.inputs[name].tensor_shape)
        if not wanted.is_compatible_with(np.shape(array)):
            sizes = ", ".join("batch" if i == 0 and d is None else str(d) for i, d in enumerate(wanted.as_list()))
            hints.append(f" Input {name!r} must have shape ({sizes}). Received: {array.shape}.")
    return "".join(hints)
