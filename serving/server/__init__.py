"""A TensorFlow Serving server in Python: `python -m serving.server --model_name=m --model_base_path=/models/m`.

storage    which versions lie in a base path, and whether they are complete
config     which models to serve, with which version policy
flags      the command line, as `tensorflow_model_server` has it
servable   one loaded version: a TensorFlow session and its signatures
batching   joins concurrent requests into one run
manager    loads, swaps and unloads versions while requests go on
services   gRPC: protobuf in, protobuf out
rest       HTTP: JSON in, JSON out
server     ties them together; main runs it until SIGTERM
"""
