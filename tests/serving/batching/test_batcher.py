"""Without parameters: nothing is refused, nothing waits for a timer."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref

import numpy as np
import pytest
from support import until

from serving.errors import Cancelled, DeadlineExceeded, Unavailable
from serving.server.batching import ADAPTIVE, ALONE
from serving.server.batching.request import LARGE_BYTES
from serving.server.calls import Call


def test_a_lone_request_runs_at_once_and_as_it_is(start, model):
    given = np.array([1.0, 2.0])
    clients = start()
    assert clients.ask(given, function=lambda values: [values]).result(30)[0] is given
    assert clients.ask(given).result(30)[0].tolist() == [2, 4]


def test_what_waits_is_joined_and_taken_apart_again(start, model):
    requests = [np.arange(size, dtype=float) + 10 * size for size in (1, 3, 2)]
    assert start().while_busy(requests) == [(request * 2).tolist() for request in requests]
    assert model.batches == [1, 6]


def test_several_inputs_and_outputs_keep_their_order(start, model):
    clients = start()
    clients.hold()
    asked = [clients.ask([n, n], [[3.0], [4.0]], function=lambda a, b: [b, a + 1]) for n in range(3)]
    model.gate.set()
    assert [[part.tolist() for part in future.result(30)] for future in asked] == [
        [[[3], [4]], [n + 1, n + 1]] for n in range(3)
    ]


def test_strings_are_joined(start, model):
    clients = start()
    clients.hold()
    words = [np.array([text], object) for text in (b"a\0", b"bc")]
    asked = [clients.ask(word, function=lambda values: [values + b"!"]) for word in words]
    model.gate.set()
    assert [future.result(30)[0].tolist() for future in asked] == [[b"a\0!"], [b"bc!"]]


def test_batches_stay_below_the_limit(start, model):
    clients = start(dataclasses.replace(ADAPTIVE, max_batch_size=6))
    assert clients.while_busy([np.ones(3)] * 4) == [[2, 2, 2]] * 4
    assert model.batches == [1, 6, 6]


def test_a_request_above_the_limit_runs_alone(start, model):
    clients = start(dataclasses.replace(ADAPTIVE, max_batch_size=2))
    assert clients.while_busy([np.ones(5), np.ones(1)]) == [[2] * 5, [2]]
    assert model.batches == [1, 5, 1]


def test_large_requests_are_not_copied_into_one(start, model):
    clients = start()
    large = np.ones((1, LARGE_BYTES // 8 + 1))
    answers = clients.while_busy([large, large, np.ones((1, 2)), np.ones((1, 2))])
    assert [len(answer[0]) for answer in answers] == [large.shape[1], large.shape[1], 2, 2]
    assert sorted(model.batches) == [1, 1, 1, 2]


def test_other_shapes_types_and_functions_never_share_a_batch(start, model):
    requests = [np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2), np.float32), np.ones((1, 2))]
    assert start().while_busy(requests) == [[[2, 2]], [[2, 2, 2]], [[2, 2]], [[2, 2]]]
    assert sorted(model.batches[1:]) == [1, 1, 2]


def test_requests_that_are_not_joinable_run_alone(start, model):
    clients = start()
    clients.hold()
    asked = [clients.ask(np.ones(2), joinable=joinable) for joinable in (True, False, True, False)]
    model.gate.set()
    assert [future.result(30)[0].tolist() for future in asked] == [[2, 2]] * 4
    assert model.batches == [1, 4, 2, 2]


def test_alone_joins_nothing(start, model):
    assert start(ALONE).while_busy([np.ones(1), np.ones(3), np.ones(1)]) == [[2], [2, 2, 2], [2]]
    assert model.batches == [1, 1, 3, 1]


@pytest.mark.parametrize("feeds", [[], [np.float32(1)], [np.ones(1), np.ones(2)], [np.ones(2), np.float32(1)]])
def test_inputs_without_a_common_batch_axis_run_as_they_are(start, feeds):
    answer = start().ask(*feeds, function=lambda *values: [len(values)]).result(30)
    assert answer == [len(feeds)]


def test_functions_take_turns(start, model):
    order = []
    clients = start(dataclasses.replace(ADAPTIVE, max_batch_size=1))
    clients.hold()

    def named(name):
        return lambda values: [order.append(name) or values]

    busy, quiet = named("busy"), named("quiet")
    asked = [clients.ask([1.0], function=busy) for _ in range(5)] + [clients.ask([1.0], function=quiet)]
    model.gate.set()
    for future in asked:
        future.result(30)
    assert order == ["busy", "quiet"] + ["busy"] * 4


def test_one_bad_request_does_not_fail_its_neighbours(start):
    good, bad, fine = start().while_busy([np.ones(1), -np.ones(1), np.ones(2)])
    assert (good, fine) == ([2], [2, 2])
    assert isinstance(bad, ValueError)


def test_one_bad_request_among_64_costs_few_runs(start, model):
    answers = start().while_busy([np.array([float(n) if n != 37 else -1.0]) for n in range(64)])
    assert [answer for n, answer in enumerate(answers) if n != 37] == [[2.0 * n] for n in range(64) if n != 37]
    assert len(model.batches) == 2 + 2 * 6


def test_bad_requests_alone_cost_twice_their_number(start, model):
    answers = start().while_busy([-np.ones(1)] * 16)
    assert all(isinstance(answer, ValueError) for answer in answers)
    assert len(model.batches) == 1 + 31


def test_outputs_without_a_batch_axis_are_given_to_each(start, model):
    clients = start()
    clients.hold()
    sums = [clients.ask(np.ones(size), function=lambda values: [values.sum()]) for size in (2, 3, 4)]
    text = clients.ask(np.ones(5), function=lambda values: [b"text"])
    model.gate.set()
    assert [future.result(30)[0] for future in sums] == [2, 3, 4]
    assert text.result(30) == [b"text"]


def test_many_callers_all_get_their_own_answers(start, model):
    clients = start(dataclasses.replace(ADAPTIVE, max_batch_size=8), slots=2)
    futures = [clients.ask([float(number)]) for number in range(500)]
    assert [future.result(30)[0].tolist() for future in futures] == [[2.0 * number] for number in range(500)]
    assert sum(model.batches) == 500
    assert (clients.batcher.queued, clients.batcher.running) == (0, 0)


def test_what_is_wanted_no_more_never_runs(start, model):
    clients = start()
    clients.hold()
    cancelled, late = Call(), Call(deadline=time.monotonic())
    asked = [clients.ask([float(n)], call=call) for n, call in enumerate([cancelled, Call(), late])]
    cancelled.cancel()
    model.gate.set()
    assert isinstance(asked[0].exception(30), Cancelled)
    assert asked[1].result(30)[0].tolist() == [2]
    assert isinstance(asked[2].exception(30), DeadlineExceeded)
    assert model.batches == [1, 1]


def test_tells_how_much_waits_and_runs(start, model):
    clients = start(slots=2)
    clients.hold(2)
    for _ in range(3):
        clients.ask([1.0])
    assert (clients.batcher.queued, clients.batcher.running) == (3, 2)


def test_each_batch_is_observed_once(start, model):
    clients = start()
    clients.while_busy([np.ones(2), -np.ones(1), np.ones(3)])
    assert [observation[:3] for observation in clients.observed] == [(1, 1, 0), (3, 6, 0)]
    assert [len(observation[3]) for observation in clients.observed] == [1, 3]
    assert all(seconds >= 0 for seconds in clients.observed[1][3])


def test_a_failing_receiver_hurts_nobody(start, model, caplog):
    clients = start()
    clients.hold()
    clients.batcher.submit(model, [np.ones(1)], Call(), lambda answer: 1 / 0)
    other = clients.ask([1.0])
    model.gate.set()
    assert other.result(30)[0].tolist() == [2]
    assert "could not be delivered" in caplog.text


def test_a_failing_observer_hurts_nobody(start, caplog):
    clients = start()
    clients.batcher._execution._observe = lambda *observation: 1 / 0
    assert [clients.ask([1.0]).result(30)[0].tolist() for _ in range(2)] == [[2]] * 2
    assert "could not be observed" in caplog.text


def test_what_was_answered_does_not_stay_in_memory(start):
    clients = start()
    given = np.ones(3)
    clients.ask(given).result(30)
    alive = weakref.ref(given)
    del given
    until(lambda: alive() is None)


def test_a_receiver_may_ask_again_and_close(start, model):
    clients = start()
    ended = threading.Event()

    def second(answer):
        clients.batcher.close()
        ended.set()

    clients.batcher.submit(
        model, [np.ones(1)], Call(), lambda _: clients.batcher.submit(model, [np.ones(1)], Call(), second)
    )
    assert ended.wait(30)


def test_a_stuck_run_does_not_stop_the_others(start, model, caplog):
    clients = start(slots=2, patience=0.01)
    held = clients.hold(2)
    answers = [clients.ask([number], function=lambda values: [values + 1]) for number in range(10)]
    assert [future.result(30)[0].tolist() for future in answers] == [[number + 1] for number in range(10)]
    until(lambda: "another thread goes on" in caplog.text)
    model.gate.set()
    assert [future.result(30)[0].tolist() for future in held] == [[200]] * 2
    until(lambda: len(clients.batcher._runners) == 2)


def test_a_slow_model_is_not_taken_for_stuck(start, model):
    clients = start(patience=60.0)
    clients.hold()
    clients.ask([1.0])
    clients.batcher._relieve()
    assert len(clients.batcher._runners) == 1


def test_closing_waits_for_what_runs_and_answers_what_waits(start, model):
    clients = start()
    held = clients.hold()
    waiting = clients.ask([1.0])
    closing = threading.Thread(target=clients.batcher.close)
    closing.start()
    assert isinstance(waiting.exception(30), Unavailable)
    assert closing.is_alive()
    model.gate.set()
    closing.join(30)
    assert held[0].done()
    with pytest.raises(Unavailable, match="unloaded"):
        clients.ask([1.0])
    clients.batcher.close()
