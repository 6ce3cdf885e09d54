"""A version's recorded warm-up requests, as examples of what its signatures are asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from serving.wire.tensors import Array

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 100
MAX_BYTES = 64 * 2**20


def requests(path: Path) -> list[tuple[str, dict[str, Array]]]:
    """Signature name and inputs of the first requests recorded for the version in the folder `path`.

    Whether the file is whole is for warm-up to say: what cannot be read is left out here.
    """
    read = []
    try:
        for record in _records(path / FILE):
            request = _request(prediction_log_pb2.PredictionLog.FromString(record))
            if request is not None:
                read.append(request)
    except Exception:
        return read
    return read


def _records(file: Path) -> Iterator[bytes]:
    """Of a TFRecord file: each has its length (8 bytes), a checksum (4), the data, and another checksum (4)."""
    if not file.exists() or file.stat().st_size > MAX_BYTES:
        return
    data, position = file.read_bytes(), 0
    for _ in range(MAX_RECORDS):
        if position + 12 > len(data):
            return
        (length,) = struct.unpack_from("<Q", data, position)
        yield data[position + 12 : position + 12 + length]
        position += 12 + length + 4


def _request(log: prediction_log_pb2.PredictionLog) -> tuple[str, dict[str, Array]] | None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        return request.model_spec.signature_name or "serving_default", inputs
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        return request.model_spec.signature_name or "serving_default", {"inputs": _examples(request.input)}
    return None


def _examples(given: input_pb2.Input) -> Array:
    examples = given.example_list.examples or given.example_list_with_context.examples
    return tf.constant([example.SerializeToString() for example in examples]).numpy()  # type: ignore[no-any-return]
