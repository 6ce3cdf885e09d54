"""Asks a TensorFlow Serving server for predictions, over gRPC and without TensorFlow.

from serving.client import PredictClient

with PredictClient("localhost:8500", "fashion_mnist") as client:
outputs = client.predict({"image_bytes": [open("boot.png", "rb").read()]}, signature="serving_bytes")
print(outputs["top_labels"][0], outputs["top_scores"][0])
"""

from serving.client.predict import ModelStatus, PredictClient, Prediction, Signature, TensorSpec
from serving.errors import ServingError

__all__ = ["ModelStatus", "PredictClient", "Prediction", "ServingError", "Signature", "TensorSpec"]
