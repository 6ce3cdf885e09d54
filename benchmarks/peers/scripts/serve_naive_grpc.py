"""gRPC's thread pool and TensorFlow's helpers, as one writes it in an afternoon; no batching."""

from concurrent import futures

import grpc
import tensorflow as tf
from model import Model, arguments
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        answer = self.model(tf.make_ndarray(request.inputs["images"]))
        response = predict_pb2.PredictResponse()
        response.outputs["probabilities"].CopyFrom(tf.make_tensor_proto(answer))
        return response


version, port = arguments()
server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(Model(version)), server)
server.add_insecure_port(f"127.0.0.1:{port}")
server.start()
server.wait_for_termination()
