from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import until

from serving.errors import InvalidArgument
from serving.server.batching import Batcher


class Model:
    """Doubles its input; notes the batches it gets, and can be held up."""

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


@pytest.fixture
def model():
    return Model()


def asked_while_busy(model, batcher, requests):
    """Answers, or exceptions, to requests that arrive while the only slot is taken."""

    def ask(values):
        try:
            return batcher(model, [values])[0].tolist()
        except Exception as error:
            return error

    model.gate.clear()
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(ask, np.array([100.0]))
        until(lambda: model.batches == [1])
        others = [pool.submit(ask, request) for request in requests]
        until(lambda: len(batcher._waiting) == len(requests))
        model.gate.set()
        assert first.result() == [200]
        return [other.result() for other in others]


def test_a_lone_request_runs_at_once_in_its_own_thread(model):
    assert Batcher()(model, [np.array([1.0, 2.0])])[0].tolist() == [2, 4]
    assert model.batches == [2]


def test_what_waits_is_joined_and_taken_apart_again(model):
    requests = [np.arange(size, dtype=float) + 10 * size for size in (1, 3, 2)]
    answers = asked_while_busy(model, Batcher(slots=1), requests)
    assert answers == [(request * 2).tolist() for request in requests]
    assert model.batches == [1, 6]


def test_batches_stay_below_the_limit(model):
    requests = [np.ones(3)] * 4
    answers = asked_while_busy(model, Batcher(max_batch_size=6, slots=1), requests)
    assert answers == [[2, 2, 2]] * 4
    assert model.batches == [1, 6, 6]


def test_a_request_above_the_limit_runs_alone(model):
    assert asked_while_busy(model, Batcher(max_batch_size=2, slots=1), [np.ones(5), np.ones(1)]) == [[2] * 5, [2]]
    assert model.batches == [1, 5, 1]


def test_other_shapes_and_types_never_share_a_batch(model):
    requests = [np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2), np.float32), np.ones((1, 2))]
    answers = asked_while_busy(model, Batcher(slots=1), requests)
    assert answers == [[[2, 2]], [[2, 2, 2]], [[2, 2]], [[2, 2]]]
    assert sorted(model.batches[1:]) == [1, 1, 2]


def test_one_bad_request_does_not_fail_its_neighbours(model):
    good, bad, fine = asked_while_busy(model, Batcher(slots=1), [np.ones(1), -np.ones(1), np.ones(2)])
    assert (good, fine) == ([2], [2, 2])
    assert isinstance(bad, ValueError)


def test_outputs_without_a_batch_axis_are_given_to_each(model):
    def total(values):
        return [values.sum()]

    batcher = Batcher(slots=1)
    model.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher, model, [np.ones(1)])
        until(lambda: model.batches == [1])
        sums = [pool.submit(batcher, total, [np.ones(size)]) for size in (2, 3)]
        until(lambda: len(batcher._waiting) == 2)
        model.gate.set()
        first.result()
        assert [future.result()[0] for future in sums] == [2, 3]


def test_many_callers_all_get_their_own_answers(model):
    batcher = Batcher(max_batch_size=8, slots=2)
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(batcher, model, [np.array([float(number)])]) for number in range(500)]
        assert [future.result()[0].tolist() for future in futures] == [[2.0 * number] for number in range(500)]
    assert sum(model.batches) == 500
    assert batcher._free_slots == 2


@pytest.mark.parametrize("feeds", [[], [np.float32(1)], [np.ones(1), np.ones(2)]])
def test_inputs_without_a_common_batch_axis_are_refused(model, feeds):
    with pytest.raises(InvalidArgument):
        Batcher()(model, [np.asarray(feed) for feed in feeds])
