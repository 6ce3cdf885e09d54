"""The official stubs, connected to the `server` of a module; clients of both kinds."""

from __future__ import annotations

import grpc
import pytest
from clients import Awaited
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.client import PredictClient


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_address) as connected:
        yield connected


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(params=[PredictClient, Awaited])
def connect(request):
    """The class of a client."""
    return request.param
