"""After a joint run those who were answered are waited for: they often ask again at once."""

from __future__ import annotations

import threading
import time

import pytest
from support import until

from serving.server.batching import ADAPTIVE, Parameters
from serving.server.batching.gathering import SHARE, Gathering

CALLERS = 6


def slow(model, seconds=0.1):
    """The model, with runs that take so long."""

    def run(values):
        answer = model(values)
        threading.Event().wait(seconds)
        return answer

    return run


@pytest.fixture
def gathering():
    return Gathering()


def test_it_ends_once_enough_wait(gathering):
    gathering.begin(3)
    gathering.look(2)
    gathering.look(3)
    gathering.wait(1)
    assert gathering._reached.is_set()


def test_it_ends_after_a_share_of_the_run(gathering):
    gathering.begin(3)
    begin = time.monotonic()
    gathering.wait(1)
    assert time.monotonic() - begin >= SHARE


def test_after_a_run_that_was_stuck_it_is_as_short(gathering):
    gathering.begin(3)
    gathering.wait(1e6)


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
    clients.hold()
    asked = [clients.ask([1.0], function=function) for _ in range(2)]
    model.gate.set()
    for future in asked:
        future.result(30)
    assert clients.ask([2.0], function=function).result(30)[0].tolist() == [4]
    assert model.batches == [1, 2, 1]


def test_close_does_not_wait_for_them(start, model):
    clients, function = start(), slow(model)
    clients.hold()
    asked = [clients.ask([1.0], function=function) for _ in range(2)]
    model.gate.set()
    for future in asked:
        future.result(30)
    clients.batcher.close()


@pytest.mark.parametrize(
    ("parameters", "slots"),
    [(Parameters(), 1), (ADAPTIVE, 2)],
    ids=["original", "threads"],
)
def test_with_the_original_s_rules_or_several_threads_nobody_is_waited_for(start, parameters, slots):
    assert start(parameters, slots).batcher._gathering is None
