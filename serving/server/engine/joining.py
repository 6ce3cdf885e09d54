"""Whether requests may be joined along the first axis: whether a row's answer is the same in any company."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.engine import probe
from serving.server.engine.probe import Probe
from serving.server.engine.sessions import Function
from serving.wire.tensors import Array

# Kernels differ by batch size in the order in which they add up; what other rows change is far more.
TOLERANCE = 1e-4
# Of sums of large values, which a softmax makes more of.
CONTRAST_TOLERANCE = 1e-2
# Beyond what pixels are, whether from 0 to 1 or to 255.
LARGE = 300
_DARKER = 16
# For a graph with loops, which may never end with values made up.
PATIENCE_SECONDS = 1.0


def rowwise(signature: meta_graph_pb2.SignatureDef, tried: Probe | None, function: Function) -> frozenset[str]:
    """The output tensors whose rows depend on the same row of the inputs alone.

    Tried on two rows, together and alone, by `function` itself, which may be less exact than what the probe's answers are from;
    also on rows of very different sizes, since what rows do to each other may begin at a threshold, such as that of a model
    that divides by 255 if any value is above 1.

    Without a probe of two different rows none is: a model of which nothing is known, and whose answers might mix the requests
    of different clients, runs each request by itself.
    """
    if tried is None or not tried.rows_differ:
        return frozenset()
    infos = {info.name: info for info in signature.outputs.values()}
    found = {fetch for fetch in tried.fetches if probe.has_open_first_axis(infos[fetch])}
    try:
        found &= _alike(tried.fetches, function, tried.arrays, TOLERANCE)
    except errors.ServingError:
        return frozenset()
    for arrays in _contrasts(tried.arrays):
        try:
            found &= _alike(tried.fetches, function, arrays, CONTRAST_TOLERANCE) if found else found
        except errors.DeadlineExceeded:
            return frozenset()  # how long it loops depends on the values: nobody shall wait for another one's
        except errors.ServingError:
            continue  # values that the model does not take
    return frozenset(found)


def _alike(fetches: Sequence[str], function: Function, arrays: Sequence[Array], tolerance: float) -> set[str]:
    """Those that two rows get together as alone. Raises ServingError for rows that are refused alone."""
    alone = [function(*[array[row : row + 1] for array in arrays], seconds=PATIENCE_SECONDS) for row in (0, 1)]
    try:
        together = function(*arrays, seconds=PATIENCE_SECONDS)
    except errors.ServingError:
        return set()
    return {
        fetch
        for fetch, both, first, second in zip(fetches, together, *alone, strict=True)
        if _matches(both, first, second, tolerance)
    }


def _contrasts(arrays: Sequence[Array]) -> Iterator[list[Array]]:
    """Two rows, of which the second has much larger values, where that is known to make sense."""
    for contrast in (_far_above, _far_below, _bright):
        changed = [contrast(array) for array in arrays]
        if any(after is not before for after, before in zip(changed, arrays, strict=True)):
            yield changed


def _far_above(array: Array) -> Array:
    return _scaled(array, LARGE)


def _far_below(array: Array) -> Array:
    return _scaled(array, -LARGE)


def _scaled(array: Array, factor: int) -> Array:
    """Integers stay as they are: they may be indexes."""
    if array.dtype.kind != "f":
        return array
    return np.concatenate([array[:1], array[1:] * array.dtype.type(factor)])


def _bright(array: Array) -> Array:
    """The second row has its largest value everywhere; bytes are pixels, those of the first row dark."""
    if array.dtype.kind == "f":
        return np.concatenate([array[:1], np.full_like(array[1:], LARGE)])
    if array.dtype != np.uint8:
        return array
    return np.concatenate([array[:1] // array.dtype.type(_DARKER), np.full_like(array[1:], 255)])


def _matches(together: object, first: object, second: object, tolerance: float) -> bool:
    both, parts = np.asarray(together), [np.asarray(first), np.asarray(second)]
    if any(part.ndim == 0 or len(part) != 1 for part in parts) or both.ndim == 0 or len(both) != 2:
        return False
    # Each by itself: beside large values small ones may be anything.
    return all(probe.same([both[row : row + 1]], [part], tolerance) for row, part in enumerate(parts))
