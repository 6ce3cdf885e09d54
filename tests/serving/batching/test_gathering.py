"""After a joint run those who were answered are waited for: they often ask again at once."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from support import until

from serving.server.batching import ADAPTIVE, Parameters, gathering
from serving.server.batching.waiting import Waiting

CALLERS = 6


def slow(model, seconds=0.1):
    """The model, with runs that take so long."""

    def run(values):
        answer = model(values)
        threading.Event().wait(seconds)
        return answer

    return run


def joint_run(clients, function):
    """Two requests that are answered together."""
    clients.hold()
    asked = [clients.ask([1.0], function=function) for _ in range(2)]
    clients.model.gate.set()
    for future in asked:
        future.result(30)


@pytest.fixture
def endless(monkeypatch):
    """Whoever was answered is waited for without a limit of time."""
    monkeypatch.setattr(gathering, "SHARE", 1e6)
    monkeypatch.setattr(gathering, "MOST_SECONDS", 1e6)


def test_a_run_that_was_stuck_is_not_a_reason_to_wait_long():
    waits = gathering.Gathering(Waiting(ADAPTIVE))
    waits.begin(1)
    waits.wait(1e6)


def test_callers_who_ask_again_and_again_end_up_in_one_run(start, model):
    clients, stop, function = start(), threading.Event(), slow(model)
    clients.hold()
    begun = threading.Semaphore(0)

    def ask_again():
        while not stop.is_set():
            future = clients.ask([1.0], function=function)
            begun.release()
            future.result(30)

    # They start in two groups: one runs, the others wait.
    callers = [threading.Thread(target=ask_again) for _ in range(CALLERS)]
    callers[0].start()
    begun.acquire()
    model.gate.set()
    until(lambda: len(model.batches) == 2)
    for caller in callers[1:]:
        caller.start()
    try:
        until(lambda: model.batches[-3:] == [CALLERS] * 3)
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_whoever_does_not_come_back_is_not_waited_for_long(start, model):
    clients, function = start(), slow(model)
    joint_run(clients, function)
    assert clients.ask([2.0], function=function).result(30)[0].tolist() == [4]
    assert model.batches == [1, 2, 1]


def test_it_goes_on_as_soon_as_as_many_wait_as_were_answered(start, model, endless):
    clients, function = start(), slow(model)
    joint_run(clients, function)
    first = clients.ask([1.0], function=function)
    assert not first.done()
    second = clients.ask([1.0], function=function)
    assert [future.result(30)[0].tolist() for future in (first, second)] == [[2], [2]]
    assert model.batches == [1, 2, 2]


def test_it_goes_on_as_soon_as_a_run_is_full(start, model, endless):
    clients, function = start(dataclasses.replace(ADAPTIVE, max_batch_size=4)), slow(model)
    joint_run(clients, function)
    assert clients.ask([1.0] * 4, function=function).result(30)[0].tolist() == [2] * 4


def test_what_can_join_no_run_is_not_held_up(start, model, endless):
    clients, function = start(), slow(model)
    joint_run(clients, function)
    assert clients.ask([1.0], function=function, joinable=False).result(30)[0].tolist() == [2]


def test_close_does_not_wait_for_them(start, model, endless):
    clients = start()
    joint_run(clients, slow(model))
    clients.batcher.close()


@pytest.mark.parametrize(
    ("parameters", "slots"),
    [(Parameters(), 1), (ADAPTIVE, 2)],
    ids=["original", "threads"],
)
def test_with_the_original_s_rules_or_several_threads_nobody_is_waited_for(start, parameters, slots):
    assert start(parameters, slots).batcher._gathering is None
