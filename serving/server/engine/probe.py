"""Inputs to try a signature with: recorded requests if there are any, else made up from its types and shapes.

A probe has two rows that differ where the signature's first axis is the batch, so that it also shows whether requests may
be joined.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.engine.sessions import Function
from serving.wire.tensors import Array

# Of the largest value of a tensor, or of 1 if that is smaller.
TOLERANCE = 1e-5
# Sizes to try where the signature leaves one open: pictures are at least some pixels wide.
OPEN_SIZES = (32, 1)
PATIENCE_SECONDS = 5.0
# From here on no further signature of a model is tried.
BUDGET_SECONDS = 2.0

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class Probe:
    """Inputs by name that a signature answers, and its answers."""

    feeds: tuple[str, ...]
    """Tensor names, in the order of the inputs' names."""
    fetches: tuple[str, ...]
    arrays: tuple[Array, ...]
    answers: Sequence[Array]
    rows_differ: bool
    """Whether each array has two rows, and they are not the same in all of them."""

    def rows(self, which: slice) -> tuple[Array, ...]:
        """The arrays of one request."""
        return tuple(array[which] for array in self.arrays)


def is_batch(signature: meta_graph_pb2.SignatureDef) -> bool:
    """Whether the first axis of all inputs is open, as that of a batch is."""
    return all(has_open_first_axis(info) for info in signature.inputs.values()) and bool(signature.inputs)


def has_open_first_axis(info: meta_graph_pb2.TensorInfo) -> bool:
    """Whether a tensor may have any number of rows."""
    shape = info.tensor_shape
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size < 0


def feeds(signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    """Tensors to feed, in the order of the inputs' names."""
    return tuple(signature.inputs[name].name for name in sorted(signature.inputs))


def fetches(signature: meta_graph_pb2.SignatureDef) -> tuple[str, ...]:
    """Tensors to fetch, in the order of the outputs' names."""
    return tuple(signature.outputs[name].name for name in sorted(signature.outputs))


def find(signature: meta_graph_pb2.SignatureDef, recorded: Sequence[Inputs], function: Function) -> Probe | None:
    """A probe that `function`, the signature's, answers; None if there is none."""
    for inputs in _candidates(signature, recorded):
        arrays = tuple(inputs[name] for name in sorted(signature.inputs))
        try:
            answers = _answers(function, arrays)
        except errors.DeadlineExceeded:
            return None
        except errors.ServingError:
            continue
        differ = is_batch(signature) and any(not np.array_equal(array[0], array[1]) for array in arrays)
        return Probe(feeds(signature), fetches(signature), arrays, answers, differ)
    return None


def _answers(function: Function, arrays: Sequence[Array]) -> list[Array]:
    """What `function` answers. Raises DeadlineExceeded if that takes long: on inputs made up, a graph may never end."""
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put([np.asarray(answer) for answer in function(*arrays)])
        except Exception as error:
            results.put(error)

    threading.Thread(target=run, name="probe", daemon=True).start()
    try:
        result = results.get(timeout=PATIENCE_SECONDS)
    except queue.Empty:
        raise errors.DeadlineExceeded(f"A signature took longer than {PATIENCE_SECONDS:g} s") from None
    if isinstance(result, Exception):
        raise result
    answers: list[Array] = result
    return answers


def same(expected: Sequence[Array], received: Sequence[Array], tolerance: float = TOLERANCE) -> bool:
    """Whether answers are equal: floats but for `tolerance`, all else wholly."""
    return len(expected) == len(received) and all(
        _same(np.asarray(e), np.asarray(r), tolerance) for e, r in zip(expected, received, strict=True)
    )


def _same(expected: Array, received: Array, tolerance: float) -> bool:
    if expected.shape != received.shape or expected.dtype != received.dtype:
        return False
    if expected.dtype.kind not in "fcV":
        return bool(np.array_equal(expected, received))
    if expected.dtype.kind == "V" or expected.dtype.itemsize < 4:
        expected, received = expected.astype(np.float32), received.astype(np.float32)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    return bool(np.allclose(received, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def _candidates(signature: meta_graph_pb2.SignatureDef, recorded: Sequence[Inputs]) -> Iterator[Inputs]:
    batch = is_batch(signature)
    for inputs in recorded[:3]:
        if set(inputs) == set(signature.inputs):
            yield _two_rows(inputs, recorded) if batch else inputs
    if any(info.tensor_shape.unknown_rank for info in signature.inputs.values()):
        return  # nothing to go by, and some operations end the process if an axis is missing
    takes_strings = any(info.dtype == tf.string.as_datatype_enum for info in signature.inputs.values())
    for texts in (_pictures(), (b"", b"a")) if takes_strings else ((b"", b"a"),):
        for size in OPEN_SIZES:
            random = np.random.default_rng(0)
            yield {name: _made_up(info, size, texts, random) for name, info in signature.inputs.items()}


def _two_rows(inputs: Inputs, recorded: Sequence[Inputs]) -> Inputs:
    """The first row of a recorded request, and one of another; without any, an altered copy."""
    first = {name: array[:1] for name, array in inputs.items()}
    for other in (inputs, *recorded):
        if set(other) == set(inputs):
            second = {name: array[-1:] for name, array in other.items()}
            fits = all(second[n].shape == first[n].shape for n in first)
            if fits and any(not np.array_equal(second[n], first[n]) for n in first):
                return {name: np.concatenate([first[name], second[name]]) for name in first}
    return {name: np.concatenate([row, _altered(row)]) for name, row in first.items()}


def _altered(row: Array) -> Array:
    """Another row that a model which takes `row` most likely takes too; the same one if none is known."""
    if row.dtype == object:
        return np.array([_altered_bytes(value) for value in row.ravel()], object).reshape(row.shape)
    if row.dtype == np.uint8:
        return np.asarray(255 - row)
    if row.dtype == np.bool_:
        return np.asarray(~row)
    if row.dtype.kind in "iu":
        # Indexes, for example, stay within what they are indexes of.
        return np.asarray(row // 2)
    return np.asarray(row * row.dtype.type(0.75))


def _altered_bytes(value: bytes) -> bytes:
    if value.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM")):
        return _pictures()[0]
    try:
        example = tf.train.Example.FromString(value)
    except Exception:
        return value
    for feature in example.features.feature.values():
        # To write to another list, if only nothing, would make the feature one of that kind.
        kind = feature.WhichOneof("kind")
        if kind == "bytes_list":
            feature.bytes_list.value[:] = [_altered_bytes(text) for text in feature.bytes_list.value]
        elif kind == "float_list":
            feature.float_list.value[:] = [0.75 * number for number in feature.float_list.value]
        elif kind == "int64_list":
            feature.int64_list.value[:] = [number // 2 for number in feature.int64_list.value]
    altered: bytes = example.SerializeToString()
    return altered


@functools.cache
def _pictures() -> tuple[bytes, bytes]:
    """Two encoded pictures of noise."""
    random = np.random.default_rng(0)
    with tf.device("CPU:0"):
        first, second = (tf.io.encode_png(random.integers(0, 256, (32, 32, 3), np.uint8)).numpy() for _ in range(2))
    return first, second


def _made_up(
    info: meta_graph_pb2.TensorInfo, open_size: int, texts: tuple[bytes, bytes], random: np.random.Generator
) -> Array:
    sizes = [dim.size for dim in info.tensor_shape.dim]
    shape = [2 if axis == 0 and size < 0 else open_size if size < 0 else size for axis, size in enumerate(sizes)]
    dtype = tf.as_dtype(info.dtype)
    if dtype == tf.string:
        values = np.array([texts[index % 2] for index in range(int(np.prod(shape)))], object)
        return values.reshape(shape)
    if dtype == tf.bool:
        return random.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        # Within what most indexes are indexes of, except for pixels.
        return random.integers(0, 256 if dtype == tf.uint8 else 2, shape).astype(dtype.as_numpy_dtype)
    return random.random(shape).astype(dtype.as_numpy_dtype)
