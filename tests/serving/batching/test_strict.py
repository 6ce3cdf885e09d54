"""With batching parameters: what TensorFlow Serving's batching does and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from support import until

from serving.errors import FailedPrecondition, Internal, InvalidArgument, Unavailable
from serving.server.batching import Parameters

FULL = "The batch scheduling queue to which this task was submitted is full; "


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([], "Batching Run() must have at least one input tensor"),
        ([np.float32(1)], "Batching Run() input tensors must have at least one dimension"),
        ([np.ones(1), np.float32(1)], "Batching Run() input tensors must have at least one dimension"),
        ([np.ones(1), np.ones(2)], "Batching Run() input tensors must have equal 0th-dimension size"),
        ([np.ones(5)], "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_requests_that_cannot_be_batched_are_refused(start, feeds, message):
    clients = start(Parameters(max_batch_size=4))
    with pytest.raises(InvalidArgument) as error:
        clients.ask(*feeds)
    assert error.value.message == message
    answer = clients.ask(*feeds, function=lambda *values: [len(values)], joinable=False)
    assert answer.result(30) == [len(feeds)]


def test_batches_that_wait_are_limited(start):
    clients = start(Parameters(max_batch_size=4, max_enqueued_batches=2))
    clients.hold()
    for size in (3, 3, 1):
        clients.ask(np.ones(size))
    with pytest.raises(Unavailable) as error:
        clients.ask(np.ones(2))
    assert error.value.message == f"{FULL}currently 2 batches enqueued and max_enqueued_batches is 2"
    assert clients.batcher.queued == 3


def test_each_function_has_a_queue_of_its_own(start):
    clients = start(Parameters(max_batch_size=1, max_enqueued_batches=1))
    clients.hold()
    first = clients.ask([1.0])
    other = clients.ask([1.0], function=lambda values: [values])
    clients.model.gate.set()
    assert (first.result(30)[0].tolist(), other.result(30)[0].tolist()) == ([2], [1])


def test_a_batch_waits_for_more_until_its_time_is_up(start, model):
    clients = start(Parameters(batch_timeout_micros=50_000), slots=2)
    asked = [clients.ask([float(number)]) for number in range(3)]
    assert [future.result(30)[0].tolist() for future in asked] == [[0], [2], [4]]
    assert model.batches == [3]
    assert clients.observed[0][3][0] >= 0.05


def test_a_full_batch_waits_no_longer(start, model):
    clients = start(Parameters(max_batch_size=2, batch_timeout_micros=10**18), slots=2)
    asked = [clients.ask([float(number)]) for number in range(5)]
    assert [future.result(30)[0].tolist() for future in asked[:4]] == [[0], [2], [4], [6]]
    assert model.batches == [2, 2]
    clients.batcher.close()
    assert isinstance(asked[4].exception(30), Unavailable)


def test_a_batch_that_the_next_request_does_not_fit_into_waits_no_longer(start, model):
    clients = start(Parameters(max_batch_size=4, batch_timeout_micros=10**12))
    asked = clients.ask(np.ones(3))
    clients.ask(np.ones(2))
    assert asked.result(30)[0].tolist() == [2, 2, 2]


def test_a_timer_is_kept_while_other_threads_take_full_batches(start, model):
    clients = start(Parameters(max_batch_size=2, batch_timeout_micros=100_000), slots=2)
    lone = clients.ask([1.0], function=lambda values: [values])
    clients.model.gate.clear()
    clients.ask(np.ones(2))
    assert lone.result(30)[0].tolist() == [1]
    assert clients.batcher.running == 1


def test_runs_are_padded_with_the_last_requests_first_row(start, model):
    seen = []
    clients = start(Parameters(max_batch_size=8, allowed_batch_sizes=(4, 8)))

    def noted(values):
        seen.append(values.tolist())
        return [values * 2]

    assert clients.ask([1.0, 2.0], function=noted).result(30)[0].tolist() == [2, 4]
    clients.hold()
    asked = [clients.ask(values, function=noted) for values in ([1.0, 2.0, 3.0], [4.0, 5.0])]
    model.gate.set()
    assert [future.result(30)[0].tolist() for future in asked] == [[2, 4, 6], [8, 10]]
    assert seen == [[1, 2, 1, 1], [1, 2, 3, 4, 5, 4, 4, 4]]
    assert [observed[:3] for observed in clients.observed] == [(1, 2, 2), (1, 1, 0), (2, 5, 3)]


def test_no_rows_are_not_padded(start, model):
    clients = start(Parameters(max_batch_size=8, allowed_batch_sizes=(4, 8)))
    assert clients.ask(np.ones(0)).result(30)[0].tolist() == []
    assert model.batches == [0]


def test_different_shapes_are_padded_to_the_largest(start, model):
    clients = start(Parameters(pad_variable_length_inputs=True))
    clients.hold()
    asked = [clients.ask(values) for values in (np.full((1, 2), 3.0), np.full((2, 3), 5.0), np.ones((1, 1, 1)))]
    model.gate.set()
    answers = [future.result(30)[0].tolist() for future in asked]
    assert answers == [[[6, 6, 6]], [[10, 10, 10]] * 2, [[[2]]]]
    assert model.batches == [1, 3, 1]


def test_padding_stops_at_rank_six(start):
    clients = start(Parameters(pad_variable_length_inputs=True))
    assert clients.ask(np.ones([1] * 6)).result(30)[0].tolist() == [[[[[[2]]]]]]
    with pytest.raises(InvalidArgument, match="Only tensors with rank from 1 to 6 can be padded."):
        clients.ask(np.ones([1] * 7))


def test_large_requests_are_split_and_fill_batches(start, model):
    parameters = Parameters(max_batch_size=10, enable_large_batch_splitting=True, max_execution_batch_size=4)
    requests = [np.arange(3.0), np.arange(10.0), np.arange(2.0)]
    assert start(parameters).while_busy(requests) == [(request * 2).tolist() for request in requests]
    assert model.batches == [1, 4, 4, 4, 3]


def test_a_split_request_fails_once(start, model):
    parameters = Parameters(max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=2)
    bad, good = start(parameters).while_busy([[1.0, -1.0, 1.0, -1.0, 1.0], [3.0]])
    assert isinstance(bad, ValueError)
    assert good == [6]


def test_parts_that_were_padded_to_different_shapes_fail(start, model):
    parameters = Parameters(
        8, pad_variable_length_inputs=True, enable_large_batch_splitting=True, max_execution_batch_size=2
    )
    wide, split = start(parameters).while_busy([np.ones((1, 3)), np.ones((3, 1))])
    assert wide == [[2, 2, 2]]
    assert isinstance(split, Internal)


def test_a_split_request_needs_room_for_all_of_it(start):
    clients = start(
        Parameters(8, max_enqueued_batches=2, enable_large_batch_splitting=True, max_execution_batch_size=4)
    )
    clients.hold()
    clients.ask(np.ones(3))
    with pytest.raises(Unavailable) as error:
        clients.ask(np.ones(6))
    assert error.value.message == (
        f"{FULL}task size is 6 but scheduling capacity is only 5 (num_enqueued_batches=1, max_enqueued_batches=2, "
        "open_batch_size=3, max_execution_batch_size=4)"
    )
    clients.ask(np.ones(5))


def test_a_request_that_no_queue_has_room_for_is_told_of_the_empty_one(start):
    clients = start(
        Parameters(8, max_enqueued_batches=1, enable_large_batch_splitting=True, max_execution_batch_size=4)
    )
    with pytest.raises(Unavailable, match="only 4 .num_enqueued_batches=1, max_enqueued_batches=1, open_batch_size=0"):
        clients.ask(np.ones(6))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.float32(1), "Batched output tensor has 0 dimensions"),
        (
            np.ones(7),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
        ),
    ],
)
def test_outputs_must_have_the_batch_axis(start, output, message):
    clients = start(Parameters())
    clients.hold()

    def function(values):
        return [output]

    asked = [clients.ask([1.0], function=function) for _ in range(2)]
    clients.model.gate.set()
    errors = [future.exception(30) for future in asked]
    assert [error.message for error in errors] == [message] * 2
    assert all(isinstance(error, FailedPrecondition) for error in errors)


def test_as_many_threads_as_the_parameters_say(start):
    clients = start(Parameters(num_batch_threads=3, thread_pool_name="mine"), slots=1)
    clients.hold(3)
    until(lambda: clients.batcher.running == 3)
    assert [runner.thread.name for runner in clients.batcher._runners] == ["mine_0", "mine_1", "mine_2"]
