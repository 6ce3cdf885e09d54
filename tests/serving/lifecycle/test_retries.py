from __future__ import annotations

import math

from serving.server import retries
from serving.server.retries import RetryPolicy

A, B, C = (("folder", frozenset({(name, 1, 1)})) for name in "abc")


def test_the_same_files_are_tried_at_an_interval_and_not_for_ever():
    attempts = retries.Attempts(RetryPolicy(max_retries=2, interval_seconds=60))
    assert attempts.are_due(A, 0)
    for now in (0, 60, 120):
        attempts.failed(A, now)
        assert not attempts.are_due(A, now + 59)
        assert attempts.are_due(A, now + 60) is (now < 120)
    assert attempts.next_at == math.inf


def test_changed_files_are_tried_with_a_back_off_that_doubles():
    attempts = retries.Attempts(RetryPolicy(max_retries=0))
    attempts.failed(A, 0)
    assert not attempts.are_due(B, 0.4)
    assert attempts.are_due(B, 0.5)
    attempts.failed(B, 10)
    assert not attempts.are_due(C, 10.9)
    assert attempts.are_due(C, 11)


def test_the_back_off_has_a_limit():
    attempts = retries.Attempts(RetryPolicy())
    for turn in range(2000):
        attempts.failed((A, B)[turn % 2], 0)
    assert attempts.are_due(C, retries.MAX_BACK_OFF_SECONDS)
