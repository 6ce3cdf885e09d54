"""One request, and what it must have in common with others to be joined with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from serving.errors import Internal, InvalidArgument
from serving.server.batching.parameters import Parameters
from serving.server.calls import Call
from serving.wire.tensors import Array

Function: TypeAlias = Callable[..., Sequence[Any]]
"""Input arrays in feed order -> output arrays in fetch order; `seconds=` says for how long
somebody waits for them, unless it is for ever."""
Answer: TypeAlias = Sequence[Any] | Exception
"""Outputs of a function, or why there are none."""
Done: TypeAlias = Callable[["Sequence[Any] | Exception"], None]
"""Takes the answer, once."""
Kind: TypeAlias = tuple[Any, ...]
"""What requests must agree in to be joined: the function, and its inputs' types and shapes without the batch axis."""

CLOSED = "This version of the model is being unloaded"
MAX_PADDED_RANK = 6
# From here on it costs more to copy a request than is gained by joining it, and many of them together would fill the memory.
LARGE_BYTES = 4 * 2**20


class Request:
    """Input arrays on their way to a function, and whom to tell the outcome."""

    __slots__ = ("call", "done", "feeds", "since", "size")

    def __init__(self, feeds: Sequence[Array], call: Call, done: Done, size: int, since: float) -> None:
        self.feeds = feeds
        self.call = call
        self.done = done
        self.size = size
        """How many examples; 1 if there is no batch axis."""
        self.since = since
        """When it came, on the clock of `time.monotonic`."""


def measure(
    function: Function, feeds: Sequence[Array], parameters: Parameters, joinable: bool
) -> tuple[int, Kind | None]:
    """The number of examples in `feeds`, and the kind of what may be joined with them; None: nothing.

    Raises InvalidArgument where TensorFlow Serving's batching refuses such inputs.
    """
    try:
        shape = feeds[0].shape
        size: int = shape[0]
    except IndexError:  # no input, or a scalar
        _refuse(feeds, 1, parameters, joinable)
        return 1, None
    if not joinable or (not parameters.is_strict and sum(feed.nbytes for feed in feeds) > LARGE_BYTES):
        return size, None
    if size > parameters.max_batch_size or (len(feeds) > 1 and any(feed.shape[:1] != (size,) for feed in feeds)):
        _refuse(feeds, size, parameters, joinable)
        return size, None
    if parameters.pad_variable_length_inputs:
        return size, (function, *_paddable(feeds))
    if len(feeds) == 1:  # in less than half the time
        return size, (function, feeds[0].dtype, shape[1:])
    return size, (function, *[(feed.dtype, feed.shape[1:]) for feed in feeds])


def _refuse(feeds: Sequence[Array], size: int, parameters: Parameters, joinable: bool) -> None:
    """Raises what is wrong with `feeds`, if wrong requests are to be refused."""
    if not (parameters.is_strict and joinable):
        return
    if not feeds:
        raise InvalidArgument("Batching Run() must have at least one input tensor")
    if any(feed.ndim == 0 for feed in feeds):
        raise InvalidArgument("Batching Run() input tensors must have at least one dimension")
    if any(len(feed) != size for feed in feeds):
        raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    raise InvalidArgument(f"Task size {size} is larger than maximum input batch size {parameters.max_batch_size}")


def _paddable(feeds: Sequence[Array]) -> list[tuple[Any, int]]:
    if any(feed.ndim > MAX_PADDED_RANK for feed in feeds):
        raise InvalidArgument(f"Only tensors with rank from 1 to {MAX_PADDED_RANK} can be padded.")
    return [(feed.dtype, feed.ndim) for feed in feeds]


def split(request: Request, first: int, size: int) -> Iterator[Request]:
    """Cuts a request into one of `first` examples (0: none) and others of at most `size`; their answers are joined."""
    ends = [*range(first or size, request.size, size), request.size]
    whole = _Whole(len(ends), request.done)
    begin = 0
    for number, end in enumerate(ends):
        feeds = [feed[begin:end] for feed in request.feeds]
        yield Request(feeds, request.call, whole.part(number), end - begin, request.since)
        begin = end


class _Whole:
    """Waits for the answers to all parts of a request, and answers it."""

    def __init__(self, parts: int, done: Done) -> None:
        self._done = done
        self._answers: list[Answer] = [()] * parts
        self._missing = parts
        self._lock = threading.Lock()

    def part(self, number: int) -> Done:
        """What takes the answer to part `number`."""

        def done(answer: Answer) -> None:
            with self._lock:
                self._answers[number] = answer
                self._missing -= 1
                missing = self._missing
            if not missing:
                self._done(self._joined())

        return done

    def _joined(self) -> Answer:
        if error := next((answer for answer in self._answers if isinstance(answer, Exception)), None):
            return error
        try:
            return [np.concatenate(parts) for parts in zip(*self._answers, strict=True)]
        except ValueError as error:  # parts that ran with others may have been padded to different shapes
            return Internal(f"Tensor concat operation failed: {error}")
