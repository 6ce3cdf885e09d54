"""What answers: the wire format, a client and a server for TensorFlow Serving's interface."""
