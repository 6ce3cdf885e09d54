"""What goes over the network: TensorFlow Serving's messages, and arrays to and from tensors. No TensorFlow."""

from serving.wire.answers import predict_response as read_predict_response
from serving.wire.channel import CHANNEL_OPTIONS
from serving.wire.requests import predict_request
from serving.wire.tensors import as_array, fill, to_array

# Full names of the methods, as gRPC spells them.
PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

__all__ = [
    "CHANNEL_OPTIONS",
    "CLASSIFY",
    "GET_MODEL_METADATA",
    "GET_MODEL_STATUS",
    "PREDICT",
    "RELOAD_CONFIG",
    "as_array",
    "fill",
    "predict_request",
    "read_predict_response",
    "to_array",
]
