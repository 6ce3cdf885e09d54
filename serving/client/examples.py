"""Pictures and features as tf.Examples, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from serving import wire
from serving.errors import InvalidArgument
from serving.wire import messages_pb2 as pb

PICTURE = "image/encoded"


def serialized_input(given: object) -> bytes:
    """A serialized tensorflow.serving.Input of one example or a list of them: encoded pictures, or features by name.

    Raises InvalidArgument for what is neither.
    """
    examples = given if isinstance(given, (list, tuple)) else [given]
    message = pb.Input(example_list=pb.ExampleList(examples=[_example(each).SerializeToString() for each in examples]))
    return message.SerializeToString()


def _example(given: object) -> pb.Example:
    example = pb.Example()
    if isinstance(given, (bytes, bytearray, memoryview)):
        given = {PICTURE: bytes(given)}
    if not isinstance(given, Mapping):
        raise InvalidArgument(
            f"An example is an encoded picture or a dict of features. Received: {type(given).__name__}. Arrays go to predict."
        )
    for name, value in given.items():
        _fill(example.features.feature[name], name, value)
    return example


def _fill(feature: pb.Feature, name: str, value: object) -> None:
    array = wire.as_array(value).ravel()
    if array.dtype == object:
        feature.bytes_list.value.extend(each.encode() if isinstance(each, str) else each for each in array.tolist())
    elif array.dtype.kind in "iub":
        feature.int64_list.value.extend(array.astype(np.int64).tolist())
    elif array.dtype.kind == "f":
        feature.float_list.value.extend(np.asarray(array, np.float32).tolist())
    else:
        raise InvalidArgument(f"Feature {name!r} must be of integers, floats, text or bytes. Received: {array.dtype}.")
