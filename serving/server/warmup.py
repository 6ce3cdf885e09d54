"""Runs requests on a version before it serves, so that its first real request is as fast as the others.

They lie in `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog` messages. A version without such a
file is warm all the same: the engine tries every signature that it can make up inputs for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving import errors
from serving.wire import to_array

if TYPE_CHECKING:
    from serving.server.servable import Servable

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000

Run = Callable[["Servable", Any], object]
"""Runs a request, such as a PredictRequest, on a version, whatever model it names. Raises ServingError."""


def run_predict(servable: Servable, request: Any) -> None:
    """Runs a PredictRequest."""
    inputs = {name: to_array(tensor) for name, tensor in request.inputs.items()}
    servable.run(inputs, request.model_spec.signature_name, request.output_filter)


RUNS: Mapping[str, Run] = {"predict_log": run_predict}
"""By the kind of record."""


def warm_up(servable: Servable, path: Path, *, iterations: int = 1, runs: Mapping[str, Run] = RUNS) -> int:
    """Runs the requests of the version folder `path` in order; returns how many there were.

    iterations: how often each request is run; 0 means once.
    runs: how a record of each kind is run ("predict_log", "classify_log", ...).

    Raises ServingError if the file is damaged, holds more than 1000 records, or a request fails: the version is then not
    fit to serve.
    """
    file, count = path / FILE, 0
    for record in _records(file) if file.exists() else ():
        count += 1
        if count > MAX_RECORDS:
            raise errors.InvalidArgument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
        _run_record(servable, record, max(iterations, 1), runs)
    return count


def _records(file: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        # Before and behind the reason TensorFlow names an operation, which tells a reader nothing.
        reason = error.message.rpartition("}} ")[2].partition(" [Op:")[0]
        raise errors.DataLoss(f"{file}: {reason}. Please verify your warmup data is in TFRecord format.") from error


def _run_record(servable: Servable, record: bytes, iterations: int, runs: Mapping[str, Run]) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise errors.InvalidArgument(f"Failed to parse warmup record: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in runs:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise errors.Unimplemented(f"Unsupported log_type for warmup: {number}")
    for _ in range(iterations):
        runs[kind](servable, getattr(log, kind).request)
