"""Tensors that are wrong, or right in unusual ways: dtype, shape and values are drawn on their own."""

from __future__ import annotations

import random

from tensorflow.core.framework import tensor_pb2

DIMENSIONS = (0, 1, 2, 3, 28, -1, -2, 2**16, 2**31, 2**62, -(2**63), 2**63 - 1)
SHAPES = ((), (0,), (1,), (1, 28, 28, 1), (3, 28, 28, 1), (0, 28, 28, 1), (1, 28, 28), (28, 28, 1), (2, 14, 56, 1))


def wrong_tensor(draw: random.Random) -> tensor_pb2.TensorProto:
    tensor = tensor_pb2.TensorProto()
    tensor.dtype = draw.choice((1, 1, 1, 1, 9, 7, 10, draw.randint(0, 30), draw.randint(100, 130), -1, 999))
    for size in _shape(draw):
        tensor.tensor_shape.dim.add(size=size)
    if draw.random() < 0.05:
        tensor.tensor_shape.unknown_rank = True
    for _ in range(draw.choice((0, 1, 1, 1, 2))):
        _fill(tensor, draw)
    return tensor


def _shape(draw: random.Random) -> tuple[int, ...]:
    if draw.random() < 0.6:
        return draw.choice(SHAPES)
    return tuple(draw.choice(DIMENSIONS) for _ in range(draw.choice((1, 2, 3, 4, 5, 40, 300))))


def _fill(tensor: tensor_pb2.TensorProto, draw: random.Random) -> None:
    """Values into one of the fields, which need not be that of the dtype; their number need not fit either."""
    count = draw.choice((0, 1, 2, 783, 784, 785, 2352))
    kind = draw.randrange(8)
    if kind < 3:
        tensor.tensor_content = draw.randbytes(draw.choice((count, count * 4, count * 8)))
    elif kind == 3:
        tensor.float_val.extend([draw.choice((0.0, float("nan"), float("inf"), -1e38))] * count)
    elif kind == 4:
        tensor.int_val.extend([draw.choice((0, -1, 300, 2**31 - 1))] * count)
    elif kind == 5:
        tensor.string_val.extend([draw.choice((b"", b"\xff\x00", b"\x89PNG\r\n\x1a\n", b"a" * 100))] * count)
    elif kind == 6:
        tensor.int64_val.extend([draw.choice((0, -(2**63)))] * count)
    else:
        tensor.bool_val.extend([True] * count)
