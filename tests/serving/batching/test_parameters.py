"""TensorFlow Serving's files of batching parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from serving.errors import InvalidArgument
from serving.server.batching import ALONE, Parameters, parameters

DEPLOY = Path(parameters.__file__).parent.parent.parent / "deploy"
WHOLE = """
# As in TensorFlow Serving's guide.
max_batch_size { value: 128 }
batch_timeout_micros: { value: 500 },
max_enqueued_batches { value: 1000000 }
num_batch_threads { value: 8 }
thread_pool_name { value: "pool" }
allowed_batch_sizes: 32
allowed_batch_sizes: 128
pad_variable_length_inputs: true
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 32 }
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "f").write_text(text)
        return parameters.from_file(tmp_path / "f")

    return read


def test_every_field_is_read(read):
    assert read(WHOLE) == Parameters(128, 500, 1000000, 8, "pool", (32, 128), True, True, 32)


def test_defaults_are_those_of_tensorflow_serving(read):
    assert read("") == Parameters(
        max_batch_size=1000, batch_timeout_micros=0, max_enqueued_batches=10, thread_pool_name="batch_threads"
    )


def test_a_wrapper_without_a_value_means_zero(read):
    with pytest.raises(InvalidArgument, match="num_batch_threads must be positive; was 0"):
        read("num_batch_threads {}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_sise { value: 1 }", 'f:1:1 : Message type "tensorflow.serving.BatchingParameters" has no field'),
        ("max_batch_size: 1", "f:1:17 : "),
        ("allowed_batch_sizes: many", "f:1:22 : "),
        ("max_batch_size { value: 1 } max_batch_size { value: 2 }", "f:1:"),
    ],
)
def test_what_is_no_such_message_is_refused(read, text, message):
    with pytest.raises(InvalidArgument, match="Error parsing text-format tensorflow.serving.BatchingParameters: ") as e:
        read(text)
    assert message in e.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        (
            "max_enqueued_batches { value: 0 } enable_large_batch_splitting { value: true }",
            "max_enqueued_batches must be positive; was 0",
        ),
        (
            "max_batch_size { value: 16 } allowed_batch_sizes: 4 allowed_batch_sizes: 8",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 16",
        ),
        ("allowed_batch_sizes: 4", "last entry was 4; expected 1000"),
        (
            "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 8 }",
            "input_batch_size_limit must be greater than or equal to max_execution_batch_size",
        ),
        (
            "max_execution_batch_size { value: 0 } enable_large_batch_splitting { value: true }",
            "max_execution_batch_size must be positive; was 0",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(read, text, message):
    with pytest.raises(InvalidArgument) as e:
        read(text)
    assert message in e.value.message


def test_without_splitting_no_queue_means_a_queue_of_one(read):
    assert read("max_enqueued_batches { value: 0 }").max_enqueued_batches == 1


def test_runs_are_smaller_than_requests_only_with_splitting():
    assert Parameters(max_batch_size=8, max_execution_batch_size=4).run_size == 8
    assert Parameters(max_batch_size=8, max_execution_batch_size=4, enable_large_batch_splitting=True).run_size == 4
    assert Parameters(max_batch_size=8, enable_large_batch_splitting=True).run_size == 8


@pytest.mark.parametrize(("size", "padded"), [(0, 4), (1, 4), (4, 4), (5, 10), (10, 10)])
def test_runs_are_padded_to_the_next_allowed_size(size, padded):
    assert size + Parameters(max_batch_size=10, allowed_batch_sizes=(4, 10)).padding(size) == padded
    assert Parameters(max_batch_size=10).padding(size) == 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match="nothing.config with .*: No such file"):
        parameters.from_file(tmp_path / "nothing.config")


def test_a_versions_own_file_replaces_all_but_the_threads(tmp_path):
    common = Parameters(7, 7, 7, 3, "common", pad_variable_length_inputs=True)
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 2 } num_batch_threads { value: 9 }")
    assert parameters.for_version(tmp_path, common) == Parameters(2, num_batch_threads=3, thread_pool_name="common")


def test_a_version_without_a_file_joins_nothing(tmp_path):
    assert parameters.for_version(tmp_path, Parameters()) == ALONE


def test_the_containers_file_lets_large_requests_in_and_splits_them():
    given = parameters.from_file(DEPLOY / "batching.config")
    assert given.run_size < given.max_batch_size <= given.run_size * given.max_enqueued_batches
    assert not dataclasses.replace(given, max_enqueued_batches=None).is_strict
