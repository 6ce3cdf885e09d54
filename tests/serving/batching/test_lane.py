"""Requests that are quick run in the thread that reads them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import until

from serving.errors import Cancelled, Unavailable
from serving.server.batching import ADAPTIVE, Batcher, Parameters, lane
from serving.server.calls import Call


class Reader:
    """A thread that reads requests, here the test's own: what is to be run soon waits until all is read."""

    def __init__(self):
        self.soon = []

    def later(self, action):
        self.soon.append(action)

    def call(self):
        return Call(soon=self.later)

    def has_read(self):
        while self.soon:
            self.soon.pop(0)()


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def clients(start):
    return start(quick_rows=4)


def test_what_is_read_in_one_go_runs_together_in_the_thread_that_read_it(clients, reader):
    threads = set()

    def double(values):
        threads.add(threading.get_ident())
        clients.model.batches.append(len(values))
        return [values * 2]

    asked = [clients.ask([float(n)], function=double, call=reader.call(), quick=True) for n in range(6)]
    assert clients.batcher.queued == 6
    reader.has_read()
    assert [future.result(0)[0].tolist() for future in asked] == [[2.0 * n] for n in range(6)]
    assert clients.model.batches == [4, 2]
    assert threads == {threading.get_ident()}
    assert [observed[:3] for observed in clients.observed] == [(4, 4, 0), (2, 2, 0)]
    assert clients.batcher.queued == 0


def test_functions_and_shapes_are_not_mixed(clients, reader):
    feeds = [[1.0], [[1.0, 2.0]], [3.0]]
    asked = [clients.ask(feed, call=reader.call(), quick=True) for feed in feeds]
    asked.append(clients.ask([5.0], function=lambda values: [values + 1], call=reader.call(), quick=True))
    reader.has_read()
    assert [future.result(0)[0].tolist() for future in asked] == [[2], [[2, 4]], [6], [6]]


@pytest.mark.parametrize("how", [{"quick": False}, {"quick": True, "joinable": False}])
def test_what_is_not_quick_or_not_joinable_has_a_thread(clients, reader, how):
    assert clients.ask([1.0], call=reader.call(), **how).result(30)[0].tolist() == [2]
    assert not reader.soon


def test_requests_of_many_rows_and_of_other_transports_have_a_thread(clients, reader):
    assert clients.ask(np.ones(5), call=reader.call(), quick=True).result(30)[0].tolist() == [2] * 5
    assert clients.ask([1.0], quick=True).result(30)[0].tolist() == [2]
    assert not reader.soon


def test_nothing_is_quick_unless_the_batcher_is_told_so(start, reader):
    assert start().ask([1.0], call=reader.call(), quick=True).result(30)[0].tolist() == [2]


def test_a_bad_request_fails_alone_and_one_that_nobody_wants_is_not_run(clients, reader):
    given_up = reader.call()
    asked = [clients.ask([value], call=reader.call(), quick=True) for value in (1.0, -1.0)]
    asked.append(clients.ask([7.0], call=given_up, quick=True))
    given_up.cancel()
    reader.has_read()
    assert asked[0].result(0)[0].tolist() == [2]
    assert isinstance(asked[1].exception(0), ValueError)
    assert isinstance(asked[2].exception(0), Cancelled)
    assert sum(clients.model.batches) == 4  # two together, then each alone


def test_of_two_threads_that_read_the_first_runs_all(clients, reader):
    other = Reader()
    asked = [clients.ask([1.0], call=one.call(), quick=True) for one in (reader, other, reader)]
    assert len(reader.soon) == len(other.soon) == 1
    other.has_read()
    assert [future.result(0)[0].tolist() for future in asked] == [[2.0]] * 3
    reader.has_read()
    assert clients.model.batches == [3]


def test_closing_answers_what_waits(clients, reader):
    asked = clients.ask([1.0], call=reader.call(), quick=True)
    clients.batcher.close()
    assert isinstance(asked.exception(0), Unavailable)
    reader.has_read()
    with pytest.raises(Unavailable):
        clients.ask([1.0], call=reader.call(), quick=True)


def test_closing_waits_for_what_runs(clients, reader):
    clients.model.gate.clear()
    asked = clients.ask([1.0], call=reader.call(), quick=True)
    running = threading.Thread(target=reader.has_read)
    running.start()
    until(lambda: clients.model.batches)
    closing = threading.Thread(target=clients.batcher.close)
    closing.start()
    assert closing.is_alive()
    assert not asked.done()
    clients.model.gate.set()
    closing.join(30)
    assert asked.result(0)[0].tolist() == [2]
    running.join(30)


def test_an_answer_may_close_the_batcher(clients, reader):
    clients.batcher.submit(clients.model, [np.ones(1)], reader.call(), lambda _: clients.batcher.close(), quick=True)
    reader.has_read()
    with pytest.raises(Unavailable):
        clients.ask([1.0])


def test_after_a_run_that_was_not_quick_threads_take_over(clients, reader, monkeypatch, caplog):
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.0)
    clients.ask([1.0], call=reader.call(), quick=True)
    reader.has_read()
    assert "should be quick" in caplog.text
    assert clients.ask([1.0], call=reader.call(), quick=True).result(30)[0].tolist() == [2]
    assert not reader.soon


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=30), st.integers(1, 5))
@settings(deadline=None)
def test_every_request_gets_its_own_answer(asked, rows):
    batcher, reader, answers = Batcher(1, ADAPTIVE, lambda *_: None, quick_rows=rows), Reader(), {}
    sizes = []

    def double(values):
        sizes.append(len(values))
        return [values * 2]

    for number, (size, quick, reads) in enumerate(asked):
        feed = np.full((size, 2), float(number))
        batcher.submit(
            double,
            [feed],
            reader.call(),
            lambda answer, number=number: answers.__setitem__(number, answer),
            quick=quick,
        )
        if reads:
            reader.has_read()
    reader.has_read()
    until(lambda: len(answers) == len(asked))
    batcher.close()
    for number, (size, _, _) in enumerate(asked):
        assert answers[number][0].tolist() == [[2.0 * number] * 2] * size


def test_strict_parameters_know_no_lane(start, reader):
    assert start(Parameters()).ask([1.0], call=reader.call(), quick=True).result(30)[0].tolist() == [2]
    assert not reader.soon
