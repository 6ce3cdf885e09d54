"""Asks a TensorFlow Serving server for predictions, over gRPC and without TensorFlow.

from serving.client import PredictClient

with PredictClient("localhost:8500", "fashion_mnist") as client:
outputs = client.predict({"image_bytes": [open("boot.png", "rb").read()]}, signature="serving_bytes")
print(outputs["top_labels"][0], outputs["top_scores"][0])

steps, core                  what a client does, without its input and output; predict and aio do that
inputs, images, signatures   what a model takes, and whether what was given is that
results                      what it answers
retries                      what is asked again
pictures, command            `cnn-tf predict`
"""

from serving.client.aio import AsyncPredictClient
from serving.client.predict import PredictClient
from serving.client.results import Prediction
from serving.client.retries import Retry
from serving.client.signatures import ModelStatus, Signature, TensorSpec
from serving.errors import ServingError

__all__ = [
    "AsyncPredictClient",
    "ModelStatus",
    "PredictClient",
    "Prediction",
    "Retry",
    "ServingError",
    "Signature",
    "TensorSpec",
]
