"""Asks a TensorFlow Serving server for predictions, over gRPC and without TensorFlow.

from serving.client import PredictClient

with PredictClient("localhost:8500", "fashion_mnist") as client:
prediction = client.predict("boot.png")
print(prediction.label, prediction.probability)

steps, core                  what a client does, without its input and output; predict and aio do that
inputs, images, examples     what was given, as what the model takes;  signatures  what that is
results                      what it answers;  bulk  to pictures without end
connection, retries          whom to ask, and when to ask again
pictures, command, progress  `cnn-tf predict`;  saving, lines, parquet, done  its --output;  scaling  its --send-size
"""

from serving.client.aio import AsyncPredictClient
from serving.client.bulk import Refused
from serving.client.connection import Connection, Tls
from serving.client.predict import PredictClient
from serving.client.results import Prediction, Predictions, Score
from serving.client.retries import Retry
from serving.client.signatures import ModelStatus, Signature, TensorSpec
from serving.errors import ServingError

__all__ = [
    "AsyncPredictClient",
    "Connection",
    "ModelStatus",
    "PredictClient",
    "Prediction",
    "Predictions",
    "Refused",
    "Retry",
    "Score",
    "ServingError",
    "Signature",
    "TensorSpec",
    "Tls",
]
