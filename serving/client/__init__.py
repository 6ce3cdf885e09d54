"""Asks a TensorFlow Serving server for predictions, over gRPC and without TensorFlow.

    from serving.client import PredictClient

    with PredictClient("localhost:8500", "fashion_mnist") as client:
        prediction = client.predict("boot.png")
        print(prediction.label, prediction.probability)

Its modules:

    steps, core                  what a client does, without its input and output; predict and aio do that
    inputs, images, examples     what was given, as what the model takes;  signatures  what that is
    results                      what it answers;  bulk  to pictures without end
    connection, retries          whom to ask, and when to ask again;  tracing  spans of that
    rest                         the same over REST, which needs httpx: pip install '.[rest]'
    pictures, command, progress  `cnn-tf predict`;  saving, lines, parquet, done  its --output;  scaling  its --send-size
    bench                        `cnn-tf bench-client`
"""

import importlib.util
from typing import TYPE_CHECKING

from serving.client.aio import AsyncPredictClient
from serving.client.bulk import Refused
from serving.client.connection import Connection, Tls
from serving.client.predict import PredictClient
from serving.client.results import Prediction, Predictions, Score
from serving.client.retries import Retry
from serving.client.signatures import ModelStatus, Signature, TensorSpec
from serving.errors import ServingError

if TYPE_CHECKING:
    from serving.client.rest import AsyncRestPredictClient, RestPredictClient

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
if importlib.util.find_spec("httpx"):
    __all__ += ["AsyncRestPredictClient", "RestPredictClient"]


def __getattr__(name: str) -> object:
    """The REST clients, which are imported when they are used: gRPC needs no httpx."""
    if name not in ("AsyncRestPredictClient", "RestPredictClient"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from serving.client import rest
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"{missing.name} is not installed. To install what REST needs, in the checkout: pip install '.[rest]'",
            name=missing.name,
        ) from missing
    return getattr(rest, name)
