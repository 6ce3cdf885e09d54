"""What a caller gives becomes arrays that the model's signature takes, or is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

from serving import wire
from serving.client.signatures import Signature, Signatures, TensorSpec
from serving.errors import FailedPrecondition, InvalidArgument
from serving.wire.tensors import Array

DEFAULT_SIGNATURE = "serving_default"


def checked(given: Mapping[str, object], name: str, known: Signatures) -> dict[str, Array]:
    """The arrays of `given`, by input; name: of the signature, "" means serving_default.

    Raises FailedPrecondition for an unknown signature, InvalidArgument for inputs that are not its own, or of another data
    type or shape.
    """
    signature = _signature(name or DEFAULT_SIGNATURE, known)
    _require_names(given, name or DEFAULT_SIGNATURE, signature)
    arrays = {key: wire.as_array(value) for key, value in given.items()}
    for key, array in arrays.items():
        _require_fit(key, array, signature.inputs[key])
    return arrays


def _signature(name: str, known: Signatures) -> Signature:
    if name not in known:
        raise FailedPrecondition(f"The model has no signature {name!r}. Expected one of: {', '.join(sorted(known))}.")
    return known[name]


def _require_names(given: Mapping[str, object], name: str, signature: Signature) -> None:
    if set(given) != set(signature.inputs):
        raise InvalidArgument(
            f"Signature {name!r} takes the inputs: {', '.join(signature.inputs)}. Received: {', '.join(given) or 'none'}."
        )


def _require_fit(name: str, array: Array, spec: TensorSpec) -> None:
    dtype = "string" if array.dtype == object else array.dtype.name
    if dtype == spec.dtype and _fits(array.shape, spec.shape):
        return
    received = f"{dtype} {_sizes(array.shape)}"
    raise InvalidArgument(f"Input {name!r} must be {spec.dtype} {_sizes(spec.shape)}. Received: {received}.")


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def _sizes(shape: tuple[int | None, ...] | None) -> str:
    """As people write it: (batch, 28, 28, 1)."""
    if shape is None:
        return "of any shape"
    first, *others = ["batch" if size is None else str(size) for size in shape[:1]] or [""]
    return f"({', '.join([first, *others, *('any' if size is None else str(size) for size in shape[1:])])})"
