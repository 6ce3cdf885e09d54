"""A version's warm-up requests, which a server runs before it calls the version available.

They lie in `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog` messages.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines.errors import DataDamaged

FILE = Path("assets.extra") / "tf_serving_warmup_requests"

Inputs = dict[str, tf.Tensor]
"""By the names that the signature gives them."""


def write(folder: Path, name: str, requests: dict[str, Inputs]) -> None:
    """Adds `requests`, by signature, to the version in `folder` of the model `name`."""
    file = folder / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, tensor in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(tensor))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def read(folder: Path, signature: str) -> list[Inputs]:
    """The requests for a signature of the version in `folder`; none if it has no such file. Raises DataDamaged."""
    file = folder / FILE
    if not file.is_file():
        return []
    try:
        records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        logged = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    except (tf.errors.DataLossError, DecodeError) as error:
        raise DataDamaged(f"{file} holds no warm-up requests. Export the version again.") from error
    return [
        {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()}
        for request in logged
        if request.model_spec.signature_name == signature
    ]
