"""Clients of both kinds, used alike, and servers that fail as a test wants it."""

from __future__ import annotations

import asyncio
from concurrent import futures
from contextlib import contextmanager

import grpc

from serving import wire
from serving.client import AsyncPredictClient, AsyncRestPredictClient, PredictClient
from serving.wire import messages_pb2


class Awaited:
    """An AsyncPredictClient that is used as if it were a PredictClient, in a loop of its own."""

    kind = AsyncPredictClient

    def __init__(self, *args, **kwargs):
        self._client = self.kind(*args, **kwargs)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._loop.run_until_complete(method(*args, **kwargs))

    def map(self, pictures, **options):
        answers = self._client.map(pictures, **options)
        try:
            while True:
                yield self._loop.run_until_complete(anext(answers))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(answers.aclose())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self._loop.close()


class AwaitedRest(Awaited):
    """The same of an AsyncRestPredictClient."""

    kind = AsyncRestPredictClient


@contextmanager
def serving(answer, metadata=None):
    """A server that gives `answer(request bytes, context)` to every call; yields its address.

    metadata: what it tells of a model instead.
    """

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            is_metadata = metadata is not None and details.method == wire.GET_MODEL_METADATA
            return grpc.unary_unary_rpc_method_handler((lambda *_: metadata) if is_metadata else answer)

    with futures.ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[Handler()], options=wire.CHANNEL_OPTIONS)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextmanager
def served(answer, connect=PredictClient, **options):
    """A client of a server that gives `answer(request bytes, context)` to every call; it checks nothing."""
    with serving(answer) as address, connect(address, "m", check=False, **options) as client:
        yield client


def echo(request, context):
    """Answers with the input x as y."""
    response = messages_pb2.PredictResponse()
    response.outputs["y"].CopyFrom(messages_pb2.PredictRequest.FromString(request).inputs["x"])
    return response.SerializeToString()


class Failing:
    """Aborts with `code` the first `times`, and answers as `echo` from then on; keeps what it was asked with."""

    def __init__(self, code, times):
        self.code, self.times, self.asked = code, times, []

    def __call__(self, request, context):
        self.asked.append((context.time_remaining(), dict(context.invocation_metadata())))
        if len(self.asked) <= self.times:
            context.abort(self.code, "as told")
        return echo(request, context)
