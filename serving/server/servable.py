"""One loaded version of a model. Knows TensorFlow, and nothing of gRPC or HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving import errors
from serving.wire.tensors import Array

DEFAULT_SIGNATURE = "serving_default"

Function = Callable[..., Sequence[Any]]
"""Input tensors in feed order -> output tensors in fetch order."""
Execute = Callable[[Function, Sequence[Array]], Sequence[Any]]
"""How a function is run: at once (`execute_directly`), or joined with other requests (`batching.Batcher`)."""


def execute_directly(function: Function, feeds: Sequence[Array]) -> Sequence[Any]:
    """Runs `function` for this request alone."""
    return function(*feeds)


class Servable:
    """A SavedModel in a session of its own; safe to call from many threads.

    It is a TensorFlow 1 session since that is what TensorFlow Serving runs: it loads what TensorFlow 1 and 2 wrote, checks
    types but not shapes, and a call costs about half of what a call of `tf.saved_model.load`'s functions does.
    """

    def __init__(self, path: Path, execute: Execute = execute_directly) -> None:
        """Loads the SavedModel in the folder `path`. Raises ServingError if that fails."""
        self._execute = execute
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        except tf.errors.OpError as error:
            self._session.close()
            raise errors.from_number(error.error_code, error.message) from error
        except (OSError, RuntimeError, ValueError) as error:
            self._session.close()
            raise errors.InvalidArgument(" ".join(str(error).split())) from error
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._functions: dict[tuple[tuple[str, ...], tuple[str, ...]], Function] = {}
        self._lock = threading.Lock()

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature called `name` ("": serving_default). Raises FailedPrecondition if there is none."""
        try:
            return self.signatures[name or DEFAULT_SIGNATURE]
        except KeyError:
            raise errors.FailedPrecondition(f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.') from None

    def run(
        self, inputs: Mapping[str, Array], signature_name: str = "", output_filter: Sequence[str] = ()
    ) -> dict[str, Array]:
        """Outputs by name for `inputs` by name; `output_filter` names the outputs wanted (none: all).

        Raises ServingError: FailedPrecondition for an unknown signature, InvalidArgument for wrong inputs, and whatever
        the graph itself raises.
        """
        signature = self.signature(signature_name)
        names, feeds = _feeds(inputs, signature)
        outputs = _selected(signature, output_filter)
        function = self._function(
            tuple(signature.inputs[name].name for name in names),
            tuple(signature.outputs[name].name for name in outputs),
        )
        try:
            results = self._execute(function, feeds)
        except tf.errors.OpError as error:
            hint = _shape_hint(dict(zip(names, feeds, strict=True)), signature)
            raise errors.from_number(error.error_code, error.message + hint) from error
        return dict(zip(outputs, (np.asarray(result) for result in results), strict=True))

    def close(self) -> None:
        """Frees the session; no call may be running."""
        self._functions.clear()
        self._session.close()

    def _function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        with self._lock:
            function = self._functions.get((feeds, fetches))
            if function is None:
                # The public `make_callable` casts inputs silently to the wanted type and refuses shapes that the graph
                # could run; this one hands the arrays to the session as they are, as TensorFlow Serving does.
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                function = self._session._make_callable_from_options(options)
                self._functions[feeds, fetches] = function
            return function


def _feeds(inputs: Mapping[str, Array], signature: meta_graph_pb2.SignatureDef) -> tuple[list[str], list[Array]]:
    """Input names in feed order and their values, with the signature's defaults filled in."""
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
    names = sorted(wanted)
    feeds = [inputs[n] if n in sent else tf.make_ndarray(signature.defaults[n]) for n in names]
    for position, (name, feed) in enumerate(zip(names, feeds, strict=True)):
        expected, given = tf.as_dtype(signature.inputs[name].dtype), tf.as_dtype(feed.dtype)
        if given != expected:
            raise errors.InvalidArgument(
                f"Expects arg[{position}] to be {_type_name(expected)} but {_type_name(given)} is provided (input {name!r})"
            )
    return names, feeds


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


def _shape_hint(inputs: Mapping[str, Array], signature: meta_graph_pb2.SignatureDef) -> str:
    """What the signature says of shapes, where an input contradicts it.

    TensorFlow Serving accepts any shape and leaves the user with the text of some inner op (tensorflow/serving#1436).
    """
    hints = []
    for name, array in inputs.items():
        wanted = tf.TensorShape(signature.inputs[name].tensor_shape)
        if not wanted.is_compatible_with(array.shape):
            sizes = ", ".join("batch" if i == 0 and d is None else str(d) for i, d in enumerate(wanted.as_list()))
            hints.append(f" Input {name!r} must have shape ({sizes}). Received: {array.shape}.")
    return "".join(hints)
