"""Predict: what is done to a request before a model runs, and to what comes out of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from serving import errors
from serving.server.calls import Call
from serving.server.rest import json_out, tensors_in
from serving.server.rest.control import Lent, Manager
from serving.server.rest.exact import Inputs
from serving.server.rest.json_in import Document
from serving.server.rest.paths import Target

DEFAULT_SIGNATURE = "serving_default"


class Task(NamedTuple):
    """A request that is ready for its model."""

    lent: Lent
    submit: Callable[[Call, Callable[[Any], None]], None]
    """Gives it to the model, which calls back with the result or a ServingError, once and from any thread."""
    write: Callable[[Any], bytes]
    """Makes the answer's body of the result. Raises ServingError."""


def prepared(manager: Manager, check: Callable[[Any], None] | None, target: Target, body: bytes) -> Task:
    """Reads the body of a predict request. Raises ServingError.

    check: may raise ServingError for a SignatureDef.

    The order of checks is TensorFlow Serving's: JSON, model, signature, tensors, method.
    """
    document = Document(body)
    name = document.signature_name
    lent = manager.borrow(target.name, target.version, target.label)
    try:
        inputs, by_row = tensors_in.arrays(document, _wanted(lent, name))
        if check is not None:
            check(lent.servable.signatures[name or DEFAULT_SIGNATURE])
    except BaseException:
        lent.release()
        raise
    submit = functools.partial(lent.servable.submit, inputs, name or DEFAULT_SIGNATURE, ())
    return Task(lent, submit, json_out.predictions if by_row else json_out.columns)


def _wanted(lent: Lent, name: str) -> Inputs:
    signature = lent.servable.signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise errors.InvalidArgument(
            f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def'
        )
    if not signature.inputs:
        raise errors.InvalidArgument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    wanted: Inputs = dict(signature.inputs)  # protobuf's own refuses names that are no UTF-8
    return wanted


def size_of(result: Any) -> int:
    """About how many bytes a result holds, outputs by name or a message."""
    if isinstance(result, Mapping):
        return sum(array.nbytes for array in result.values())
    size: int = result.ByteSize()
    return size
