"""What the load consists of: one request, checked and encoded before anything is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serving import wire
from serving.client.inputs import DEFAULT_SIGNATURE, DTYPES, sizes
from serving.client.pictures import WrongUse
from serving.client.predict import PredictClient
from serving.client.signatures import TensorSpec
from serving.client.steps import Call, Outcome
from serving.wire.tensors import Array


def encoded(client: PredictClient, picture: Path | None, signature: str, batch_size: int) -> bytes:
    """A serialized PredictRequest of `batch_size` examples: the picture again and again, or random values.

    signature: "" is the one for encoded pictures with `picture`, else serving_default.

    Raises WrongUse for a model whose input cannot be made up; ServingError; OSError for a picture that cannot be read.
    """
    if picture is not None:
        return _request(client, [picture.read_bytes()] * batch_size, signature)
    name = signature or DEFAULT_SIGNATURE
    known = client.metadata()
    if name not in known:
        raise WrongUse(f"The model has no signature {name!r}. Name one with --signature: {', '.join(sorted(known))}.")
    inputs = {key: _random(key, spec, batch_size) for key, spec in known[name].inputs.items()}
    return _request(client, inputs, name)


def _random(name: str, spec: TensorSpec, batch_size: int) -> Array:
    """Integers from 0 to at most 255, as pixels are; others from 0 to 1."""
    shape = [batch_size if size is None and axis == 0 else size for axis, size in enumerate(spec.shape or ())]
    known = [size for size in shape if size is not None]
    if spec.shape is None or len(known) < len(shape) or spec.dtype not in DTYPES:
        raise WrongUse(
            f"Values for input {name!r}, {spec.dtype} {sizes(spec.shape)}, cannot be made up: expected numbers, and all "
            "sizes but the batch's. Pass --picture FILE, or another --signature."
        )
    dtype, random = DTYPES[spec.dtype], np.random.default_rng(7)
    if dtype.kind in "iub":
        highest = 1 if dtype.kind == "b" else min(255, np.iinfo(dtype).max)
        return random.integers(0, highest, known, endpoint=True).astype(dtype)
    return np.asarray(random.random(known)).astype(dtype)


def _request(client: PredictClient, inputs: object, signature: str) -> bytes:
    """What the client would send."""
    steps = client._core.predict(inputs, signature=signature)
    outcome: Outcome = None
    while True:
        step = steps.send(outcome)
        if isinstance(step, Call) and step.method == wire.PREDICT:
            return step.request
        outcome = client._take(step)
