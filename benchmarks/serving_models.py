"""The two models that serving is measured with, as SavedModels, and the requests for one picture.

The weights are random, those of batch normalization too: what adds a 0, as a new one does, would be optimized away. Else what a
picture costs does not depend on them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.wire import messages_pb2, tensors

# Name -> shape of one picture, float32.
SHAPES = {"lenet5": (28, 28, 1), "resnet18": (224, 224, 3)}

INPUT, OUTPUT = "images", "probabilities"

# What a model is built with beside its name.
_CLASSES = {"lenet5": 10, "resnet18": 1000}

GRPC_PATH = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True)
class Request:
    """What a client posts to `path`, and how the answer's probabilities, float32 (classes,), are read from its body."""

    path: str
    headers: dict[str, str]
    body: bytes
    read: Callable[[bytes], Any]

    @property
    def is_grpc(self) -> bool:
        return self.headers["content-type"] == "application/grpc"


def picture(name: str) -> np.ndarray:
    """The picture that all requests for a model carry: float32 (1, H, W, C), values 0 to 255, with fractions."""
    return np.random.default_rng(7).uniform(0, 255, (1, *SHAPES[name])).astype(np.float32)


def write(folder: Path) -> None:
    """Writes FOLDER/NAME/1 for every model; what is there already stays."""
    for name in SHAPES:
        if not (folder / name / "1" / "saved_model.pb").exists():
            _export(name, folder / name / "1")


def _export(name: str, version: Path) -> None:
    import keras
    import tensorflow as tf

    import cnn_tf

    keras.utils.set_random_seed(1)
    model = cnn_tf.build(name, input_shape=SHAPES[name], num_classes=_CLASSES[name])
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: tf.nn.softmax(model(images, training=False))}

    spec = tf.TensorSpec((None, *SHAPES[name]), tf.float32, name=INPUT)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", tf.function(serve, input_signature=[spec]))
    archive.write_out(version, verbose=False)


def grpc_request(name: str) -> Request:
    """Predict with `tensor_content`, in gRPC's frame, for a load generator that knows only HTTP/2."""
    message = messages_pb2.PredictRequest()
    message.model_spec.name = name
    tensors.fill(message.inputs[INPUT], picture(name))
    content = message.SerializeToString()
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return Request(GRPC_PATH, headers, struct.pack(">BI", 0, len(content)) + content, read_grpc)


def read_grpc(body: bytes) -> Any:
    response = messages_pb2.PredictResponse.FromString(body)
    return tensors.to_array(response.outputs[OUTPUT])[0]


def rest_request(name: str) -> Request:
    """Predict with the numbers as JSON, row format."""
    body = json.dumps({"instances": picture(name).tolist()}).encode()
    headers = {"content-type": "application/json"}
    return Request(f"/v1/models/{name}:predict", headers, body, lambda answer: json.loads(answer)["predictions"][0])


def raw_request(name: str, path: str = "/predict") -> Request:
    """The picture's bytes, answered by the probabilities' bytes."""
    headers = {"content-type": "application/octet-stream"}
    return Request(path, headers, picture(name).tobytes(), lambda answer: np.frombuffer(answer, np.float32))
