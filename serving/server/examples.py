"""Classify, Regress and MultiInference: signatures that take serialized tf.Examples, and what their outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError, Message
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import errors
from serving.server.calls import Call
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.wire import messages_pb2 as pb
from serving.wire.tensors import BY_NUMPY, Array

INPUT, CLASSES, SCORES, OUTPUT = "inputs", "classes", "scores", "outputs"

Done: TypeAlias = Callable[["list[Message] | errors.ServingError"], None]


class Kind(NamedTuple):
    """One way to ask about examples."""

    api: str  # the gRPC method
    noun: str  # in error texts
    method_name: str  # of its signatures
    result_field: str  # of InferenceResult
    outputs: Callable[[meta_graph_pb2.SignatureDef], tuple[str, ...]]  # which of a signature's it reads
    result: Callable[[dict[str, Array], int], Message]  # outputs, number of examples -> result message


@dataclass(frozen=True)
class Task:
    """One signature to run: tensor names in the graph."""

    kind: Kind
    signature_name: str
    feed: str
    fetches: dict[str, str]  # by output name


def serialized(data: bytes) -> Array:
    """The examples of a serialized Input, each with the context in front: string (N,).

    Raises Internal if the Input is broken, InvalidArgument if it is empty. What an example holds is not looked at.
    """
    try:
        request = pb.Input.FromString(data)
    except DecodeError as error:
        raise errors.Internal("Error parsing serialized input.") from error
    context = request.example_list_with_context.context
    chosen = (
        request.example_list_with_context if request.HasField("example_list_with_context") else request.example_list
    )
    return as_tensor([context + example for example in chosen.examples])


def as_tensor(examples: Sequence[bytes]) -> Array:
    """Serialized examples as a string (N,). Raises InvalidArgument if there is none."""
    if not examples:
        raise errors.InvalidArgument("Input is empty.")
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    return array


def task(servable: Servable, signature_name: str, kind: Kind, *, check_method_name: bool = False) -> Task:
    """How to run a signature ("": serving_default) for Classify or Regress. Raises InvalidArgument if it does not fit."""
    name = signature_name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise errors.InvalidArgument(f"No signature was found with the name: {name}")
    return _task(servable.signatures[name], name, kind, check_method_name)


def tasks(servable: Servable, requested: Sequence[pb.InferenceTask], *, check_method_name: bool = False) -> list[Task]:
    """The tasks of a MultiInference request. Raises InvalidArgument, Unimplemented."""
    found: dict[str, Task] = {}
    for entry in requested:
        if entry.model_spec.name != servable.name:
            raise errors.InvalidArgument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                if entry.model_spec.name
                else "Found ModelSpec with an empty model name."
            )
        name = entry.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in found:
            raise errors.InvalidArgument(f"Duplicate evaluation of signature: {name}")
        if name not in servable.signatures:
            raise errors.InvalidArgument(f"Requested signature not found in model graph: {name}")
        if entry.method_name not in _BY_METHOD_NAME:
            raise errors.Unimplemented(f"Unsupported signature method_name: {entry.method_name}")
        found[name] = _task(servable.signatures[name], name, _BY_METHOD_NAME[entry.method_name], check_method_name)
        if len({task.feed for task in found.values()}) > 1:
            raise errors.InvalidArgument("Input tensor must be the same for all Signatures.")
    return list(found.values())


def run(servable: Servable, wanted: Sequence[Task], examples: Array, call: Call, done: Done) -> None:
    """Runs all tasks, which have one input, at once on `examples`, string (N,); `done` takes their results in order."""
    fetches = sorted({tensor for task in wanted for tensor in task.fetches.values()})

    def finish(arrays: Any) -> None:
        if isinstance(arrays, errors.ServingError):
            return done(arrays)
        by_tensor = dict(zip(fetches, arrays, strict=True))
        try:
            results = [
                task.kind.result({name: by_tensor[tensor] for name, tensor in task.fetches.items()}, len(examples))
                for task in wanted
            ]
        except errors.ServingError as error:
            return done(error)
        return done(results)

    api = wanted[0].kind.api if len(wanted) == 1 else "MultiInference"
    servable.submit_examples(api, wanted[0].feed, fetches, examples, call, finish)


def ask(
    api: str,
    lent: Any,
    signature_name: str,
    serialized: Sequence[bytes],
    call: Call,
    done: Callable[[Any], None],
    *,
    check_method_name: bool = False,
) -> None:
    """Classify or Regress with examples as bytes; `done` takes the result message or a ServingError. Raises ServingError."""
    servable = lent.servable
    wanted = task(servable, signature_name, KINDS[api], check_method_name=check_method_name)
    run(servable, [wanted], as_tensor(serialized), call, first(done))


def first(done: Callable[[Any], None]) -> Done:
    """A `Done` for a single task."""
    return lambda results: done(results if isinstance(results, errors.ServingError) else results[0])


def _task(signature: meta_graph_pb2.SignatureDef, name: str, kind: Kind, check_method_name: bool) -> Task:
    if check_method_name and signature.method_name != kind.method_name:
        raise errors.InvalidArgument(
            f"Expected {kind.noun} signature method_name to be {kind.method_name}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise errors.InvalidArgument("Expected one input Tensor.")
    outputs = kind.outputs(signature)
    if INPUT not in signature.inputs:
        raise errors.InvalidArgument(f"No {kind.noun} inputs found in SignatureDef: {_shown(signature)}")
    return Task(
        kind, name, signature.inputs[INPUT].name, {output: signature.outputs[output].name for output in outputs}
    )


def _shown(signature: meta_graph_pb2.SignatureDef) -> str:
    return " ".join(str(signature).split())


def _classification_outputs(signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    if len(signature.outputs) not in (1, 2):
        raise errors.InvalidArgument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    found = tuple(name for name in (CLASSES, SCORES) if name in signature.outputs)
    if not found:
        raise errors.InvalidArgument(
            f'Expected classification signature outputs to contain at least one of "{CLASSES}" or "{SCORES}". '
            f"Signature was: {_shown(signature)}"
        )
    return found


def _regression_outputs(signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    if len(signature.outputs) != 1:
        raise errors.InvalidArgument("Expected one output Tensor.")
    if OUTPUT not in signature.outputs:
        raise errors.InvalidArgument(f"No regression outputs found in SignatureDef: {_shown(signature)}")
    return (OUTPUT,)


def _classifications(outputs: dict[str, Array], count: int) -> classification_pb2.ClassificationResult:
    for name, dtype in ((CLASSES, np.dtype(object)), (SCORES, np.dtype(np.float32))):
        if name in outputs:
            _require(outputs[name], name, dtype, count)
    widths = {array.shape[1] for array in outputs.values()}
    if len(widths) > 1:
        raise errors.InvalidArgument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {outputs[CLASSES].shape[1]} vs. {outputs[SCORES].shape[1]}"
        )
    width = widths.pop()
    labels = outputs[CLASSES].tolist() if CLASSES in outputs else [[b""] * width] * count
    scores = outputs[SCORES].tolist() if SCORES in outputs else [[0.0] * width] * count
    result = classification_pb2.ClassificationResult()
    try:
        for row_labels, row_scores in zip(labels, scores, strict=True):
            row = result.classifications.add().classes
            for label, score in zip(row_labels, row_scores, strict=True):
                row.add(label=label.decode(), score=score)
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(f"A class name is not UTF-8: {error}") from error
    return result


def _require(array: Array, name: str, dtype: np.dtype[Any], count: int) -> None:
    if array.ndim != 2:
        raise errors.InvalidArgument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if array.dtype != dtype:
        raise errors.InvalidArgument(f"Expected {name} Tensor of {_type(dtype)}. Got: {_type(array.dtype)}")
    if len(array) != count:
        raise errors.InvalidArgument(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _regressions(outputs: dict[str, Array], count: int) -> regression_pb2.RegressionResult:
    array = outputs[OUTPUT]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise errors.InvalidArgument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != count:
        raise errors.InvalidArgument(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise errors.InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {_type(array.dtype)}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _type(dtype: np.dtype[Any]) -> str:
    kind = BY_NUMPY.get(dtype)
    return types_pb2.DataType.Name(kind.number) if kind else str(dtype)


KINDS = {
    "Classify": Kind(
        "Classify",
        "classification",
        "tensorflow/serving/classify",
        "classification_result",
        _classification_outputs,
        _classifications,
    ),
    "Regress": Kind(
        "Regress", "regression", "tensorflow/serving/regress", "regression_result", _regression_outputs, _regressions
    ),
}
_BY_METHOD_NAME = {kind.method_name: kind for kind in KINDS.values()}
