"""Whether requests may be joined along the first axis: whether a row's answer is the same in any company."""

from __future__ import annotations

import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server.engine import probe
from serving.server.engine.probe import Probe
from serving.server.engine.sessions import Function

# Kernels differ by batch size in the order in which they add up; what other rows change is far more.
TOLERANCE = 1e-4


def rowwise(signature: meta_graph_pb2.SignatureDef, tried: Probe | None, function: Function) -> frozenset[str]:
    """The output tensors whose rows depend on the same row of the inputs alone.

    Tried on two rows, together and alone, by `function` itself, which may be less exact than what the probe's answers are from.
    Without a probe of two different rows none is: a model of which nothing is known, and whose answers might mix the requests
    of different clients, runs each request by itself.
    """
    if tried is None or not tried.rows_differ:
        return frozenset()
    try:
        together = function(*tried.arrays)
        alone = [function(*tried.rows(slice(row, row + 1))) for row in (0, 1)]
    except errors.ServingError:
        return frozenset()
    infos = {info.name: info for info in signature.outputs.values()}
    return frozenset(
        fetch
        for index, fetch in enumerate(tried.fetches)
        if probe.has_open_first_axis(infos[fetch]) and _matches(together[index], *(a[index] for a in alone))
    )


def _matches(together: object, first: object, second: object) -> bool:
    parts = [np.asarray(first), np.asarray(second)]
    if any(part.ndim == 0 or len(part) != 1 for part in parts) or parts[0].shape != parts[1].shape:
        return False
    return probe.same([np.asarray(together)], [np.concatenate(parts)], TOLERANCE)
