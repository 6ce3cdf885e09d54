from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from serving.server.engine import EngineOptions, threads

ROW = [np.zeros((1, 2), np.float32)]


def busy(seconds):
    """A function that takes `seconds(rows)`."""

    def call(array):
        end = time.perf_counter() + seconds(len(array))
        while time.perf_counter() < end:
            pass
        return [array]

    return call


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda rows: 0.001 * rows, 1),
        (lambda rows: 0.001, 32),
        (lambda rows: 0.002 if rows <= 8 else 0.001 * rows, 8),
    ],
)
def test_batch_is_as_large_as_it_gains_something(seconds, best):
    assert threads.best_batch(threads.rates(busy(seconds), ROW, seconds(1))) == best


def test_batches_of_a_slow_model_are_not_tried():
    rates = threads.rates(lambda array: pytest.fail("tried"), ROW, 0.5)
    assert threads.best_batch(rates) == threads.SLOW_BATCH
    assert threads.quick_rows(rates) == 0


def test_a_first_call_that_compiles_does_not_count():
    calls = iter([0.3])
    choice = threads.choose(
        EngineOptions(), threads.Trial(lambda n: busy(lambda rows: next(calls, 1e-4)), ROW, False, 0)
    )
    assert choice.seconds is None or choice.seconds < 0.1  # None: a single processor leaves no choice


def test_a_single_thread_is_measured_where_no_session_with_more_has_run():
    """What oneDNN keeps for a thread depends on the session that ran there first."""
    ran = {}

    def function(threads):
        return lambda array: [ran.setdefault(threading.get_ident(), set()).add(threads), array]

    threads.choose(EngineOptions(), threads.Trial(function, ROW, False, 0))
    assert all(len(counts) == 1 for counts in ran.values())


@pytest.mark.parametrize(
    ("rates", "rows"),
    [
        ({1: 5000, 8: 12_000, 32: 11_000}, 32),
        ({1: 5000}, 0),  # a row takes 0.2 ms: as long as to hand it over
        ({1: 900, 8: 9000}, 0),  # a lone request holds the others up
    ],
)
def test_a_model_is_quick_if_it_takes_less_than_to_hand_requests_over(rates, rows):
    assert threads.quick_rows(rates) == rows
