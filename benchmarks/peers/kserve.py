"""ModelInfer of KServe's protocol, version 2, which Triton and MLServer speak: written by hand, for one tensor each way."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.serving_models import INPUT, Request, picture

PATH = "/inference.GRPCInferenceService/ModelInfer"
# Fields of ModelInferRequest, of its InferInputTensor, and of ModelInferResponse.
_MODEL_NAME, _INPUTS, _RAW_INPUTS = 1, 5, 7
_NAME, _DATATYPE, _SHAPE = 1, 2, 3
_RAW_OUTPUTS = 6


def request(name: str) -> Request:
    """One picture as raw float32, with the batch as first axis."""
    image = picture(name)
    shape = b"".join(map(_varint, image.shape))
    tensor = _field(_NAME, INPUT.encode()) + _field(_DATATYPE, b"FP32") + _field(_SHAPE, shape)
    message = _field(_MODEL_NAME, b"model") + _field(_INPUTS, tensor) + _field(_RAW_INPUTS, image.tobytes())
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return Request(PATH, headers, struct.pack(">BI", 0, len(message)) + message, _read)


def _read(body: bytes) -> Any:
    return np.frombuffer(next(content for field, content in _fields(body) if field == _RAW_OUTPUTS), np.float32)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of a message all of whose fields have a length."""
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        length, position = _read_varint(message, position)
        yield key >> 3, message[position : position + length]
        position += length


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
