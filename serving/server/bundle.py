"""How long the data files of saved variables must be, read from their index.

`variables.index` is a table of sorted strings as LevelDB writes it: blocks of entries whose keys share prefixes, a block that
indexes the others, and a footer that says where that one is. Under the empty key lies a `BundleHeaderProto`, under every
other one a `BundleEntryProto`: which data file holds a tensor, from where to where.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import tensor_bundle_pb2

from serving.errors import DataLoss

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_TRAILER_BYTES = 5  # a block's compression and checksum
_MAX_VARINT_BYTES = 10


def shard_sizes(index: Path) -> list[int]:
    """The least size in bytes of each data file that belongs to `index`. Raises DataLoss if it is damaged, or OSError."""
    data = index.read_bytes()
    try:
        header, entries = _read(data)
    except (IndexError, ValueError, DecodeError) as error:
        raise DataLoss(f"{index.name} is damaged: {error}") from error
    sizes = [0] * header.num_shards
    for entry in entries:
        if not 0 <= entry.shard_id < header.num_shards:
            raise DataLoss(f"{index.name} is damaged: it names data file {entry.shard_id} of {header.num_shards}")
        sizes[entry.shard_id] = max(sizes[entry.shard_id], entry.offset + entry.size)
    return sizes


def _read(data: bytes) -> tuple[tensor_bundle_pb2.BundleHeaderProto, list[tensor_bundle_pb2.BundleEntryProto]]:
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise ValueError("its end is missing")
    _, position = _handle(footer, 0)
    (start, size), _ = _handle(footer, position)
    header, entries = None, []
    for _, handle in _entries(_block(data, start, size)):
        (start, size), _ = _handle(handle, 0)
        for key, value in _entries(_block(data, start, size)):
            if key:
                entries.append(tensor_bundle_pb2.BundleEntryProto.FromString(value))
            else:
                header = tensor_bundle_pb2.BundleHeaderProto.FromString(value)
    if header is None or not 0 <= header.num_shards <= len(data):
        raise ValueError("its header is missing")
    return header, entries


def _block(data: bytes, start: int, size: int) -> bytes:
    end = start + size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise ValueError("a block reaches beyond its end")
    if data[end] != 0:
        raise ValueError("it is compressed, which TensorFlow never does")
    return data[start:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. Behind them lie restart points, of no use here, and their number."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise ValueError("a block is too short")
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + unshared + length > end:
            raise ValueError("an entry reaches beyond its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Where a block starts and its size, and the position behind these two numbers."""
    start, position = _varint(data, position)
    size, position = _varint(data, position)
    return (start, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position behind it."""
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        byte = data[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise ValueError("a number has no end")
