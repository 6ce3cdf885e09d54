"""What holds for any requests and parameters."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support import until

from serving.errors import Cancelled, Internal, InvalidArgument, Unavailable
from serving.server.batching import Batcher, Parameters, joining
from serving.server.calls import Call

BAD, GOOD, CANCELLED = "bad", "good", "cancelled"


@dataclass(frozen=True)
class Asked:
    """One request: which function, how many rows of which width, and what is the matter with it."""

    function: int
    rows: int
    width: int
    fate: str
    joinable: bool


requests = st.lists(
    st.builds(
        Asked,
        st.integers(0, 1),
        st.integers(0, 7),
        st.integers(1, 2),
        st.sampled_from([GOOD, GOOD, GOOD, BAD, CANCELLED]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=40,
)


@st.composite
def parameters(draw):
    size, run_size, splits = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.booleans())
    return Parameters(
        max_batch_size=size,
        batch_timeout_micros=draw(st.sampled_from([0, 0, 2000])),
        max_enqueued_batches=draw(st.sampled_from([None, None, 1, 3])),
        allowed_batch_sizes=draw(st.sampled_from([(), (size,), ((size + 1) // 2, size)])),
        pad_variable_length_inputs=draw(st.booleans()),
        enable_large_batch_splitting=splits,
        max_execution_batch_size=min(size, run_size) if splits else None,
    )


class Function:
    """Adds its number to all values; refuses a batch with a negative value. Notes sizes; the first call waits."""

    def __init__(self, number, gate):
        self.number = number
        self.sizes = []
        self.gate = gate

    def __call__(self, values):
        assert self.gate.wait(30)
        self.sizes.append(len(values))
        if (values < 0).any():
            raise ValueError("negative")
        return [values + self.number, values[:, :1]]


@given(requests, parameters(), st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_every_request_gets_its_own_answer_once(asked, parameters, slots):
    gate = threading.Event()
    functions = [Function(0, gate), Function(1000, gate)]
    batcher = Batcher(slots, parameters, lambda *observed: None)
    answers, counts, expected = {}, Counter(), 0
    for number, request in enumerate(asked):

        def done(answer, number=number):
            answers[number] = answer
            counts[number] += 1

        call = Call()
        try:
            batcher.submit(functions[request.function], [_rows(number, request)], call, done, joinable=request.joinable)
            expected += 1
        except (InvalidArgument, Unavailable):
            assert parameters.is_strict
            assert request.joinable
        if request.fate == CANCELLED:
            call.cancel()
    gate.set()
    until(lambda: len(answers) == expected, timeout=10)
    batcher.close()
    assert set(counts.values()) <= {1}
    for number, answer in answers.items():
        if not _was_split_and_padded(answer, parameters):
            _check(number, asked[number], answer)
    lone = max([request.rows for request in asked if not (request.joinable and parameters.is_strict)], default=0)
    limit = max(lone, parameters.run_size + parameters.padding(parameters.run_size))
    assert all(size <= limit for function in functions for size in function.sizes)


def _rows(number, request):
    rows = np.full((request.rows, request.width), float(number))
    if request.fate == BAD and request.rows:
        rows[-1, -1] = -1
    return rows


def _was_split_and_padded(answer, parameters):
    splits = parameters.enable_large_batch_splitting and parameters.pad_variable_length_inputs
    return splits and isinstance(answer, Internal)


def _check(number, request, answer):
    if isinstance(answer, Exception):
        allowed = {BAD: ValueError, CANCELLED: Cancelled}
        assert isinstance(answer, allowed[request.fate])
        return
    assert request.fate != BAD or not request.rows
    rows, firsts = answer
    assert rows.shape[0] == request.rows
    assert rows.shape[1] >= request.width  # wider if it was padded to others
    assert (rows == number + 1000 * request.function).all()
    assert firsts.tolist() == [[number]] * request.rows


shapes = st.integers(1, 4).flatmap(
    lambda rank: st.lists(st.tuples(*[st.integers(0, 4)] * rank), min_size=1, max_size=5)
)


@given(shapes, st.integers(0, 5))
def test_padded_arrays_keep_their_own_values_and_add_only_their_first(shapes, padding):
    arrays = [np.arange(1.0, 1 + np.prod(shape)).reshape(shape) for shape in shapes]
    [joined] = joining.join([[array] for array in arrays], padding if len(arrays[-1]) else 0, ragged=True)
    inner = np.max([shape[1:] for shape in shapes], axis=0).astype(int)
    assert joined.shape[1:] == tuple(inner)
    begin = 0
    for array in arrays:
        part = joined[begin : begin + len(array)]
        here = tuple(slice(length) for length in array.shape)
        assert (part[here] == array).all()
        outside = np.ones(part.shape, bool)
        outside[here] = False
        assert (part[outside] == (array.flat[0] if array.size else 0)).all()
        begin += len(array)
    assert all((row == joined[begin - len(arrays[-1])]).all() for row in joined[begin:])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 4))
def test_what_was_joined_comes_apart_again(sizes, padding):
    arrays = [np.random.default_rng(number).random((size, 2)) for number, size in enumerate(sizes)]
    padding = padding if sizes[-1] else 0
    [joined] = joining.join([[array] for array in arrays], padding, ragged=False)
    shares = joining.take_apart([joined, joined[:, 0]], sizes, sum(sizes) + padding)
    for array, (whole, column) in zip(arrays, shares, strict=True):
        assert (whole == array).all()
        assert (column == array[:, 0]).all()
