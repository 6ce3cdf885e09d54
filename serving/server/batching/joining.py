"""Arrays of many requests into those of one run, and its outputs back into theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.errors import FailedPrecondition
from serving.wire.tensors import Array


class NotBatched(FailedPrecondition):
    """The function's outputs cannot be told apart by request."""


def join(feeds: Sequence[Sequence[Array]], padding: int, ragged: bool) -> list[Array]:
    """Concatenates the arrays of each input over all requests.

    Adds `padding` times the first row of the last request. If the arrays may be `ragged`, all are first padded to the
    largest of them.
    """
    return [_column(column, padding, ragged) for column in zip(*feeds, strict=True)]


def _column(arrays: Sequence[Array], padding: int, ragged: bool) -> Array:
    if ragged and len({array.shape[1:] for array in arrays}) > 1:
        arrays = _padded(arrays)
    if padding and len(arrays[-1]):
        arrays = [*arrays, np.broadcast_to(arrays[-1][:1], (padding, *arrays[-1].shape[1:]))]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(arrays: Sequence[Array]) -> list[Array]:
    """Fills each array, at the end of its axes but the first, with its own first element."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        filled = np.full((len(array), *shape), _first(array), array.dtype)
        filled[tuple(slice(length) for length in array.shape)] = array
        padded.append(filled)
    return padded


def _first(array: Array) -> Any:
    if array.size:
        return array.flat[0]
    return b"" if array.dtype == object else np.zeros((), array.dtype)


def take_apart(outputs: Sequence[Any], sizes: Sequence[int], total: int) -> list[list[Array]]:
    """Each request's share of the outputs, of `sizes` examples; what is left of `total` was padding.

    They are views: whoever keeps one keeps the whole run's outputs in memory, so answers are to be serialized at once.
    Raises NotBatched.
    """
    for output in outputs:
        shape = getattr(output, "shape", ())  # a scalar string is plain bytes
        if not shape:
            raise NotBatched("Batched output tensor has 0 dimensions")
        if shape[0] != total:
            raise NotBatched(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors"
            )
    shares, begin = [], 0
    for size in sizes:
        end = begin + size
        shares.append([output[begin:end] for output in outputs])
        begin = end
    return shares
