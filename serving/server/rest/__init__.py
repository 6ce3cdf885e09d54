"""HTTP: TensorFlow Serving's REST interface.

paths                       what a request names
json_in  reader  flat       JSON as RapidJSON reads it
tensors_in  examples        bodies to arrays, and to tf.Example
json_out  decimals          answers as RapidJSON writes them
app  predict  answers       from request to answer, on an event loop
server  protocol  client    the port, its connections and who is at their other end
"""

from serving.server.rest.app import Settings
from serving.server.rest.server import RestServer

__all__ = ["RestServer", "Settings"]
