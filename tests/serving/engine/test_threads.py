from __future__ import annotations

import time

import numpy as np
import pytest

from serving.server.engine import threads

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
    assert threads.best_batch(busy(seconds), ROW, seconds(1)) == best


def test_batches_of_a_slow_model_are_not_tried():
    assert threads.best_batch(lambda array: pytest.fail("tried"), ROW, 0.5) == threads.SLOW_BATCH
