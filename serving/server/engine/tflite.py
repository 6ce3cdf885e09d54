"""An engine for TensorFlow Lite models, on the interpreter that TensorFlow carries."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python.interpreter import Interpreter

from serving import errors
from serving.server import memory
from serving.server.engine import joining, probe, sessions
from serving.server.engine.options import EngineOptions
from serving.server.engine.sessions import Function
from serving.server.engine.threads import ANY_BATCH
from serving.wire.tensors import Array

DEFAULT_SIGNATURE = "serving_default"
PREDICT = "tensorflow/serving/predict"


class TfliteEngine:
    """A pool of interpreters, each of which answers one call at a time in the calling thread."""

    def __init__(self, file: Path, count: int) -> None:
        self._pool: queue.SimpleQueue[_Model] = queue.SimpleQueue()
        for _ in range(count):
            self._pool.put(_Model(file))
        model = self._pool.get()
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = model.signatures()
        self._pool.put(model)
        self.slots = count
        self.quick_rows = 0
        self.best_batch = ANY_BATCH
        self.quick_rows = 0
        self.needs_ranks = True
        self.summary = f"TensorFlow Lite, {count} interpreter{'s' if count > 1 else ''}"
        self._functions: dict[tuple[tuple[str, ...], tuple[str, ...]], Function] = {}
        self._rowwise = {name: self._find_rowwise(signature) for name, signature in self.signatures.items()}

    def function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        """See `engine.Engine`."""
        function = self._functions.get((feeds, fetches))
        if function is None:
            function = self._functions[feeds, fetches] = self._make(feeds, fetches)
        return function

    def _make(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        key, signature = self._signature_with(feeds, fetches)
        inputs = {info.name: name for name, info in signature.inputs.items()}
        outputs = {info.name: name for name, info in signature.outputs.items()}

        def call(*arrays: Any, seconds: float | None = None) -> Sequence[Any]:
            model = self._pool.get()
            try:
                named = {inputs[feed]: array for feed, array in zip(feeds, arrays, strict=True)}
                results = model.run(key, named)
            except (RuntimeError, ValueError) as error:
                raise errors.InvalidArgument(" ".join(str(error).split())) from error
            finally:
                self._pool.put(model)
            return [results[outputs[fetch]] for fetch in fetches]

        return call

    def _signature_with(
        self, feeds: tuple[str, ...], fetches: tuple[str, ...]
    ) -> tuple[str, meta_graph_pb2.SignatureDef]:
        for key, signature in self.signatures.items():
            if set(feeds) == set(probe.feeds(signature)) and set(fetches) <= set(probe.fetches(signature)):
                return key, signature
        raise errors.InvalidArgument(f"No signature computes {', '.join(fetches)} of {', '.join(feeds)}")

    def _find_rowwise(self, signature: meta_graph_pb2.SignatureDef) -> frozenset[str]:
        function = self.function(probe.feeds(signature), probe.fetches(signature))
        return joining.rowwise(signature, probe.find(signature, [], function), function)

    def joinable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> bool:
        """See `engine.Engine`."""
        key, _ = self._signature_with(feeds, fetches)
        return self._rowwise[key].issuperset(fetches)

    def close(self) -> None:
        """See `engine.Engine`."""
        self._functions.clear()
        while not self._pool.empty():
            self._pool.get()
        memory.give_back()


class _Model:
    """One interpreter. A model without signatures has one of its own inputs and outputs."""

    def __init__(self, file: Path) -> None:
        try:
            with warnings.catch_warnings():
                # That it will move to another package; the version of TensorFlow that we require still has it.
                warnings.filterwarnings("ignore", message="(?s).*tf.lite.Interpreter is deprecated")
                self._interpreter = Interpreter(model_path=str(file), num_threads=1)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise errors.InvalidArgument(
                f"{file} is not a TensorFlow Lite model: {' '.join(str(error).split())}"
            ) from error
        self._runners = {
            key: self._interpreter.get_signature_runner(key) for key in self._interpreter.get_signature_list()
        }

    def signatures(self) -> dict[str, meta_graph_pb2.SignatureDef]:
        """By name, as a SavedModel would describe them."""
        if not self._runners:
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            return {DEFAULT_SIGNATURE: _signature("", _by_name(inputs), _by_name(outputs))}
        return {
            key: _signature(f"{key}_", runner.get_input_details(), runner.get_output_details())
            for key, runner in self._runners.items()
        }

    def run(self, key: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises ValueError or RuntimeError for inputs that do not fit."""
        if self._runners:
            results: dict[str, Array] = self._runners[key](**inputs)
            return results
        for details in self._interpreter.get_input_details():
            array = inputs[details["name"]]
            if tuple(details["shape"]) != array.shape:
                self._interpreter.resize_tensor_input(details["index"], array.shape)
        self._interpreter.allocate_tensors()
        for details in self._interpreter.get_input_details():
            self._interpreter.set_tensor(details["index"], inputs[details["name"]])
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return {details["name"]: self._interpreter.get_tensor(details["index"]) for details in outputs}


def _by_name(details: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in details}


def _signature(
    prefix: str, inputs: Mapping[str, dict[str, Any]], outputs: Mapping[str, dict[str, Any]]
) -> meta_graph_pb2.SignatureDef:
    signature = meta_graph_pb2.SignatureDef(method_name=PREDICT)
    for described, target in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for name, details in described.items():
            target[name].name = prefix + name
            target[name].dtype = tf.as_dtype(details["dtype"]).as_datatype_enum
            target[name].tensor_shape.CopyFrom(tf.TensorShape(_shape(details)).as_proto())
    return signature


def _shape(details: Mapping[str, Any]) -> list[int | None]:
    sizes = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    return [None if size < 0 else int(size) for size in sizes]


def load(file: Path, options: EngineOptions) -> TfliteEngine:
    """The model in `file`. Raises InvalidArgument if it is none."""
    pools = options.num_tflite_pools or sessions.cpus()
    return TfliteEngine(file, pools * max(1, options.num_tflite_interpreters_per_pool))
