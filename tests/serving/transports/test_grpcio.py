"""What only gRPC's own library as a transport can get wrong: its threads have their turn when they have it."""

from __future__ import annotations

import threading

import grpc
from clients import serving
from support import until

from serving.server.transports.grpcio import call_of


def test_a_call_that_was_cancelled_before_its_thread_had_its_turn_is_over():
    begun, seen = threading.Event(), []

    def late(request, context):
        cancelled = threading.Event()
        context.add_callback(cancelled.set)
        begun.set()
        cancelled.wait(60)
        seen.append(call_of(context).is_over)
        return b""

    with serving(late) as address, grpc.insecure_channel(address) as channel:
        asking = channel.unary_unary("/t/late").future(b"")
        begun.wait(60)
        asking.cancel()
        until(lambda: seen)
    assert seen == [True]
