"""How large batches may be, how long they are waited for, and TensorFlow Serving's text files that say so."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from serving.errors import InvalidArgument
from serving.server import text_proto
from serving.server.batching import parameters_pb2

VERSION_FILE = "batching_params.pbtxt"
"""In a version's folder: parameters of that version, with --enable_per_model_batching_parameters."""


@dataclass(frozen=True)
class Parameters:
    """`tensorflow.serving.BatchingParameters` with its defaults. Sizes count examples. Raises InvalidArgument.

    With a limit of `max_enqueued_batches` requests are held to TensorFlow Serving's rules: one that is too large, has no
    batch axis or finds the queue full is refused. Without a limit (None) nothing is refused: what cannot be joined runs alone.
    """

    max_batch_size: int = 1000
    """Of one request; of a run too, unless requests are split."""
    batch_timeout_micros: int = 0
    """How long a batch that is not full waits for more, from its first request on. 0: only while all threads are busy."""
    max_enqueued_batches: int | None = 10
    """How many batches of one function may wait."""
    num_batch_threads: int | None = None
    """How many batches run at once; None: as many as suit the model."""
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    """A run is padded up to the next of these; none: any size."""
    pad_variable_length_inputs: bool = False
    """Whether requests whose arrays differ beyond the batch axis may share a run, padded to the largest of them."""
    enable_large_batch_splitting: bool = False
    """Whether a request may be spread over several runs of at most `max_execution_batch_size`."""
    max_execution_batch_size: int | None = None
    """None: `max_batch_size`. Without splitting it has no effect."""

    def __post_init__(self) -> None:
        _require_positive("num_batch_threads", self.num_batch_threads)
        _require_positive("input_batch_size_limit", self.max_batch_size)
        if self.batch_timeout_micros < 0:
            raise InvalidArgument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.max_enqueued_batches == 0 and not self.enable_large_batch_splitting:
            object.__setattr__(self, "max_enqueued_batches", 1)  # as TensorFlow Serving has it
        _require_positive("max_enqueued_batches", self.max_enqueued_batches)
        if self.run_size > self.max_batch_size:
            raise InvalidArgument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
                f"max_execution_batch_size. Received max_batch_size {self.max_batch_size} and "
                f"max_execution_batch_size {self.run_size}."
            )
        _require_positive("max_execution_batch_size", self.run_size)
        if self.allowed_batch_sizes and self.allowed_batch_sizes[-1] != self.max_batch_size:
            raise InvalidArgument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def is_strict(self) -> bool:
        """Whether requests are refused as TensorFlow Serving's batching refuses them."""
        return self.max_enqueued_batches is not None

    @property
    def run_size(self) -> int:
        """The most examples in one run."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padding(self, size: int) -> int:
        """How many examples are added to a run of `size`."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size) - size


def _require_positive(name: str, value: int | None) -> None:
    if value is not None and value <= 0:
        raise InvalidArgument(f"{name} must be positive; was {value}")


ADAPTIVE = Parameters(max_batch_size=64, max_enqueued_batches=None, thread_pool_name="model_server_batch_threads")
"""Needs no tuning: who is free takes what waits. Up to 64 small networks gain, beyond that none does."""
ALONE = dataclasses.replace(ADAPTIVE, max_batch_size=1)
"""Joins nothing."""


def from_file(path: Path) -> Parameters:
    """Parameters from the text form of a BatchingParameters message.

    Raises InvalidArgument for a file that cannot be read or is no such message, and for values that make no sense.
    """
    message = text_proto.read(path, parameters_pb2.BatchingParameters(), "tensorflow.serving.BatchingParameters")
    given: dict[str, Any] = {field.name: _plain(value) for field, value in message.ListFields()}
    return Parameters(**given)


def _plain(value: Any) -> Any:
    """A field's value, out of its wrapper message."""
    if isinstance(value, Message):
        return getattr(value, "value")  # noqa: B009, its static type has none
    return value if isinstance(value, bool) else tuple(value)


def for_version(path: Path, common: Parameters) -> Parameters:
    """What holds for the version in the folder `path` with --enable_per_model_batching_parameters.

    Its own file replaces all of `common` but the threads; without a file its requests are not joined.
    """
    file = path / VERSION_FILE
    if not file.exists():
        return ALONE
    return dataclasses.replace(
        from_file(file), num_batch_threads=common.num_batch_threads, thread_pool_name=common.thread_pool_name
    )
