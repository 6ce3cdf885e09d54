"""Which requests share a batch, step by step."""

from __future__ import annotations

import dataclasses

import pytest

from serving.errors import Unavailable
from serving.server.batching import ADAPTIVE, Parameters
from serving.server.batching.request import Request
from serving.server.batching.waiting import Waiting
from serving.server.calls import Call


def function(values):
    return [values]


def request(size=1, since=0.0):
    return Request([], Call(), lambda answer: None, size, since)


def test_a_batch_for_an_idle_thread_takes_more_until_it_runs():
    waiting = Waiting(ADAPTIVE)
    [batch] = waiting.add(function, (1,), request(), idle=1)
    assert waiting.is_empty
    assert waiting.add(function, (1,), request(), idle=0) == ()
    assert (batch.size, waiting.requests) == (2, 2)
    waiting.close(batch)
    assert waiting.add(function, (1,), request(), idle=0) == (None,)
    assert (batch.size, waiting.requests) == (2, 1)


def test_nothing_is_news_but_a_batch_that_opens():
    waiting = Waiting(dataclasses.replace(ADAPTIVE, max_batch_size=2))
    assert [list(waiting.add(function, (1,), request(), idle=0)) for _ in range(3)] == [[None], [], [None]]
    assert [waiting.take(0.0).size, waiting.take(0.0).size, waiting.take(0.0)] == [2, 1, None]


def test_with_a_timer_a_batch_is_taken_when_full_or_due():
    waiting = Waiting(Parameters(max_batch_size=2, batch_timeout_micros=10**6))
    assert waiting.add(function, (1,), request(since=5.0), idle=1) == (None,)
    assert (waiting.due(), waiting.take(5.9)) == (6.0, None)
    assert waiting.add(function, (1,), request(since=5.5), idle=1) == (None,)
    assert waiting.take(5.6).size == 2


def test_what_is_refused_leaves_no_trace():
    waiting = Waiting(Parameters(max_batch_size=1, max_enqueued_batches=1))
    waiting.add(function, (1,), request(), idle=0)
    with pytest.raises(Unavailable):
        waiting.add(function, (1,), request(), idle=0)
    assert (len(waiting.clear()), waiting.requests, waiting.is_empty) == (1, 0, True)
