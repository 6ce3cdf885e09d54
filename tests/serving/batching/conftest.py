from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from support import until

from serving.server.batching import ADAPTIVE, Batcher
from serving.server.calls import Call


class Model:
    """Doubles its input; notes the batches it gets, refuses negative numbers, and can be held up."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, values):
        self.batches.append(len(values))
        assert self.gate.wait(30)
        if (values < 0).any():
            raise ValueError("negative")
        return [values * 2]


class Clients:
    """Asks a batcher; answers are futures."""

    def __init__(self, model, batcher, observed):
        self.model = model
        self.batcher = batcher
        self.observed = observed

    def ask(self, *feeds, function=None, call=None, **how):
        future = Future()
        arrays = [np.asarray(feed) for feed in feeds]
        self.batcher.submit(function or self.model, arrays, call or Call(), _give(future), **how)
        return future

    def hold(self, count=1):
        """Keeps `count` slots busy until the model's gate is opened."""
        self.model.gate.clear()
        held = []
        for number in range(count):
            held.append(self.ask([100.0], joinable=False))
            until(lambda number=number: len(self.model.batches) == number + 1)
        return held

    def while_busy(self, requests):
        """What the futures of requests give that come while the only slot is taken: lists, or exceptions."""
        self.hold()
        futures = [self.ask(request) for request in requests]
        self.model.gate.set()
        return [future.exception(30) or future.result()[0].tolist() for future in futures]


def _give(future):
    def done(answer):
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    return done


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def start(model):
    """Starts batchers with one slot, or as told; none leaves a thread behind."""
    before, started = set(threading.enumerate()), []

    def start(parameters=ADAPTIVE, slots=1, **settings):
        observed = []
        batcher = Batcher(slots, parameters, lambda *observation: observed.append(observation), **settings)
        started.append(batcher)
        return Clients(model, batcher, observed)

    yield start
    model.gate.set()
    for batcher in started:
        batcher.close()
    assert set(threading.enumerate()) <= before
