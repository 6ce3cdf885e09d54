"""What a caller gives becomes arrays that the model's signature takes, or is refused before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving import wire
from serving.client import images
from serving.client.signatures import Signature, Signatures, TensorSpec
from serving.errors import FailedPrecondition, InvalidArgument
from serving.wire.tensors import KINDS, Array

DEFAULT_SIGNATURE = "serving_default"
BYTES_SIGNATURE = "serving_bytes"

DTYPES = {kind.numpy.name: kind.numpy for kind in KINDS if not kind.is_string}

_BYTES = (bytes, bytearray, memoryview)


class Inputs(NamedTuple):
    """What is sent: arrays by input, and the name of the signature, "" for the default."""

    arrays: dict[str, Array]
    signature: str


def files(given: object) -> list[Path]:
    """The files that `given` names, in order; text is a path where no input is named, and a value where one is."""
    found: list[Path] = []

    def look(leaf: object) -> object:
        if isinstance(leaf, (str, os.PathLike)):
            found.append(Path(leaf))
        return leaf

    _replace_paths(given, look)
    return found


def with_contents(given: object, contents: Iterator[bytes]) -> object:
    """`given` with the files' contents, in the order of `files`, in place of their names."""
    return _replace_paths(given, lambda leaf: next(contents))


def unchecked(given: object, signature: str) -> Inputs:
    """As it is given. Raises FailedPrecondition if no input is named."""
    if not isinstance(given, Mapping):
        raise FailedPrecondition(
            "This client does not ask what the model takes (check=False). Name the input: {'images': ...}."
        )
    return Inputs({name: wire.as_array(value) for name, value in given.items()}, signature)


def checked(given: object, signature: str, known: Signatures) -> Inputs:
    """Arrays that fit the signature, which is chosen by what is given if "" and no input is named.

    Raises FailedPrecondition if the model has no such signature, InvalidArgument for inputs that are not its own, or of
    another data type or shape.
    """
    if isinstance(given, Mapping):
        found = _signature(signature or DEFAULT_SIGNATURE, known)
        _require_names(given, signature or DEFAULT_SIGNATURE, found)
        return Inputs({name: _fit(name, value, found.inputs[name]) for name, value in given.items()}, signature)
    signature = signature or _choose(given, known)
    found = _signature(signature, known)
    if len(found.inputs) != 1:
        raise InvalidArgument(f"Signature {signature!r} takes {len(found.inputs)} inputs. Name them: {_names(found)}.")
    ((name, spec),) = found.inputs.items()
    return Inputs({name: _fit(name, given, spec, lone=True)}, signature)


def _choose(given: object, known: Signatures) -> str:
    """Encoded pictures go to serving_bytes, or else to the default if that takes strings; all else to the default."""
    if not isinstance(_first(given), _BYTES) and not _is_array_of_strings(given):
        return DEFAULT_SIGNATURE
    for name in (BYTES_SIGNATURE, DEFAULT_SIGNATURE):
        if name in known and [spec.dtype for spec in known[name].inputs.values()] == ["string"]:
            return name
    raise FailedPrecondition(
        f"The model takes no encoded pictures: expected a signature {BYTES_SIGNATURE!r} with one input of strings. "
        f"It has: {', '.join(sorted(known))}. Name the signature, or pass arrays."
    )


def _signature(name: str, known: Signatures) -> Signature:
    if name not in known:
        raise FailedPrecondition(f"The model has no signature {name!r}. Expected one of: {', '.join(sorted(known))}.")
    return known[name]


def _require_names(given: Mapping[str, object], name: str, signature: Signature) -> None:
    if set(given) != set(signature.inputs):
        raise InvalidArgument(
            f"Signature {name!r} takes the inputs: {_names(signature)}. Received: {', '.join(given) or 'none'}."
        )


def _names(signature: Signature) -> str:
    return ", ".join(signature.inputs)


def _fit(name: str, value: object, spec: TensorSpec, *, lone: bool = False) -> Array:
    """The array of `value`. lone: a single example becomes a batch of one."""
    try:
        array = _to_array(value, spec)
    except ValueError as error:
        raise InvalidArgument(f"Input {name!r} is no array of one shape: {error}.") from error
    if lone and spec.shape and spec.shape[0] is None and array.ndim == len(spec.shape) - 1:
        array = array[np.newaxis]
    dtype = "string" if array.dtype == object else array.dtype.name
    if dtype != spec.dtype or not _fits(array.shape, spec.shape):
        way_out = "" if dtype == spec.dtype or "string" in (dtype, spec.dtype) else " Convert it: astype."
        raise InvalidArgument(
            f"Input {name!r} must be {spec.dtype} {sizes(spec.shape)}. Received: {dtype} {sizes(array.shape)}.{way_out}"
        )
    return array


def _to_array(value: object, spec: TensorSpec) -> Array:
    """Numbers in lists, which have no type of their own, take the input's where it holds them."""
    first = _first(value)
    if images.is_image(first) or (isinstance(first, (np.ndarray, *_BYTES)) and _has_image(value)):
        channels = spec.shape[-1] if spec.shape and len(spec.shape) == 4 else None
        return np.asarray(_map(value, lambda leaf: _pixels(leaf, channels)))
    if isinstance(first, _BYTES):
        value = _map(value, lambda leaf: bytes(leaf) if isinstance(leaf, _BYTES) else leaf)
    array = wire.as_array(value)
    target = DTYPES.get(spec.dtype)
    is_untyped = isinstance(first, (bool, int, float, complex, list, tuple)) and not isinstance(first, np.generic)
    return array.astype(target) if is_untyped and target is not None and _holds(target, array) else array


def _has_image(value: object) -> bool:
    return isinstance(value, (list, tuple)) and any(map(images.is_image, value))


def _pixels(leaf: object, channels: int | None) -> object:
    if images.is_image(leaf):
        return images.pixels(leaf, channels)
    if isinstance(leaf, np.ndarray):
        return leaf
    raise InvalidArgument(
        "Pictures of one request are all encoded (bytes, or paths of files), or all pixels (arrays, or pictures of PIL). "
        f"Received: {type(leaf).__name__} beside a picture of PIL."
    )


def _holds(dtype: np.dtype[Any], array: Array) -> bool:
    """Whether numbers of Python's in `array` can be of `dtype`; fractions may be rounded, but not to integers."""
    if not array.size:
        return True
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return array.dtype.kind in "iu" and limits.min <= array.min() and array.max() <= limits.max
    if dtype.kind == "c":
        return array.dtype.kind in "iufc"
    # bfloat16 is of no kind that NumPy knows.
    return array.dtype.kind in "iuf" if dtype.kind in "fV" else array.dtype == dtype


def _first(value: object) -> object:
    """The first value in nested lists; an empty list is its own."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value


def _map(value: object, function: Callable[[Any], object]) -> object:
    """Nested lists with what `function` makes of each value in them."""
    return [_map(item, function) for item in value] if isinstance(value, (list, tuple)) else function(value)


def _replace_paths(given: object, function: Callable[[object], object]) -> object:
    """`given`, with what `function` makes of each path in it."""
    if isinstance(given, Mapping):
        return {name: _replaced(value, (os.PathLike,), function) for name, value in given.items()}
    return _replaced(given, (str, os.PathLike), function)


def _replaced(value: object, paths: tuple[type, ...], function: Callable[[object], object]) -> object:
    if not isinstance(_first(value), (*paths, *_BYTES)):
        return value  # of numbers there are many
    return _map(value, lambda leaf: function(leaf) if isinstance(leaf, paths) else leaf)


def _is_array_of_strings(given: object) -> bool:
    return isinstance(given, np.ndarray) and given.dtype.kind in "OSU"


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))


def sizes(shape: tuple[int | None, ...] | None) -> str:
    """As people write it: (batch, 28, 28, 1)."""
    if shape is None:
        return "of any shape"
    unknown = ["batch", *["any"] * len(shape)]
    return f"({', '.join(other if size is None else str(size) for size, other in zip(shape, unknown, strict=False))})"
