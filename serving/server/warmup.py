"""Replays a version's warm-up requests, so that its first real request is as fast as the others.

They lie in `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog` messages.
"""

from __future__ import annotations

import logging
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving import errors
from serving.server.servable import Servable
from serving.wire import to_array

_log = logging.getLogger(__name__)

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000


def replay(servable: Servable, path: Path) -> int:
    """Runs the recorded requests of the version folder `path` in order; returns how many there were (no file: 0).

    Raises ServingError if the file is damaged, holds more than 1000 records, or a request fails: the version is then not
    fit to serve.
    """
    file = path / FILE
    if not file.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            count += 1
            if count > MAX_RECORDS:
                raise errors.InvalidArgument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
            _replay_record(servable, record)
    except tf.errors.DataLossError as error:
        raise errors.DataLoss(f"{error.message}. Please verify your warmup data is in TFRecord format.") from error
    return count


def _replay_record(servable: Servable, record: bytes) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise errors.InvalidArgument(f"Failed to parse warmup record: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: to_array(tensor) for name, tensor in request.inputs.items()}
        servable.run(inputs, request.model_spec.signature_name, request.output_filter)
    elif kind is not None:
        _log.warning("A warm-up record of kind %s is skipped: only predict_log is replayed", kind)
