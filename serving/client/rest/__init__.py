"""The clients for places where gRPC does not get through: the same calls over TensorFlow Serving's REST interface.

exchanges     what a call of gRPC's is in HTTP and JSON, and the way back
values        arrays and examples in JSON
clients       who sends it
"""

from serving.client.rest.clients import AsyncRestPredictClient, RestPredictClient

__all__ = ["AsyncRestPredictClient", "RestPredictClient"]
