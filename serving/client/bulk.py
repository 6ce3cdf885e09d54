"""Pictures without end, in batches, several at once and in order: all of `map` but its input and output.

A plan is a generator of actions for whoever has threads or an event loop. It is sent what came of each: the pictures of a Pull,
and of a Start whatever stands for the work, which comes back in a Give.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from serving.client.results import Prediction, Predictions
from serving.client.steps import Read, Steps
from serving.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True)
class Refused:
    """In the place of a picture without an answer: the model refuses it, or its file cannot be read."""

    error: InvalidArgument | OSError

    @property
    def reason(self) -> str:
        """In one line."""
        if isinstance(self.error, OSError):
            return f"cannot be read: {self.error.strerror or self.error}"
        return f"the model refuses it: {_said(self.error.message)}"


Reply = Prediction | Refused


class Pull(NamedTuple):
    """The next `size` of these pictures are wanted, an iterator or an asynchronous one; fewer are the last."""

    pictures: Any
    size: int


class Start(NamedTuple):
    """These steps are to run beside others; what stands for them has a method `done`."""

    steps: Steps[list[Reply]]


class Give(NamedTuple):
    """The answers of this work, once it is done, are the caller's."""

    work: Any


Action = Pull | Start | Give


class Plan(NamedTuple):
    """Actions, and how many Starts may run at once."""

    actions: Generator[Action, Any, None]
    in_flight: int


def plan(
    pictures: Iterable[object] | AsyncIterable[object],
    answers: Callable[[list[object]], Steps[list[Reply]]],
    batch_size: int,
    in_flight: int,
) -> Plan:
    """What `map` does; answers: steps for a batch.

    Raises ValueError for sizes below 1, TypeError for what is one picture.
    """
    for name, value in (("batch_size", batch_size), ("in_flight", in_flight)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more. Received: {value}.")
    if isinstance(pictures, (str, bytes, bytearray, memoryview, os.PathLike)):
        raise TypeError(f"map takes an iterable of pictures. Received: {type(pictures).__name__}. See predict for one.")
    source = aiter(pictures) if isinstance(pictures, AsyncIterable) else iter(pictures)
    return Plan(_actions(source, answers, batch_size, in_flight), in_flight)


def following(plan: Plan, outcome: Any) -> Action | None:
    """The next action, of what came of the last; None after the last of all."""
    try:
        return plan.actions.send(outcome)
    except StopIteration:
        return None


def _actions(
    pictures: Iterator[object] | AsyncIterator[object],
    answers: Callable[[list[object]], Steps[list[Reply]]],
    batch_size: int,
    in_flight: int,
) -> Generator[Action, Any, None]:
    under_way: deque[Any] = deque()
    is_last = False
    while under_way or not is_last:
        if under_way and (is_last or len(under_way) == in_flight or under_way[0].done()):
            yield Give(under_way.popleft())
        else:
            batch = yield Pull(pictures, batch_size)
            is_last = len(batch) < batch_size
            if batch:
                under_way.append((yield Start(answers(batch))))


def answers(
    pictures: list[object], predict: Callable[[list[object]], Steps[Predictions]], how: Callable[[Path], bytes]
) -> Steps[list[Reply]]:
    """One for each picture of a batch. how: gives a file's contents."""
    loaded = yield from _with_contents(pictures, how)
    answered = iter((yield from _ask([each for each in loaded if not isinstance(each, OSError)], predict)))
    return [Refused(each) if isinstance(each, OSError) else next(answered) for each in loaded]


def _with_contents(pictures: list[object], how: Callable[[Path], bytes]) -> Steps[list[object]]:
    """The pictures, with the contents of files, or why one cannot be read, in place of their names."""
    names = [Path(each) for each in pictures if isinstance(each, (str, os.PathLike))]
    contents = (yield Read(names, how)) if names else []
    if not isinstance(contents, list):
        raise TypeError("Files were not read.")
    read = iter(contents)
    return [next(read) if isinstance(each, (str, os.PathLike)) else each for each in pictures]


def _ask(pictures: list[object], predict: Callable[[list[object]], Steps[Predictions]]) -> Steps[list[Reply]]:
    """Halves a batch that is refused until the pictures are found that are to blame; no server names them dependably."""
    if not pictures:
        return []
    try:
        predictions = yield from predict(pictures)
    except InvalidArgument as error:
        if len(pictures) == 1:
            return [Refused(error)]
        middle = len(pictures) // 2
        first = yield from _ask(pictures[:middle], predict)
        return first + (yield from _ask(pictures[middle:], predict))
    if len(predictions) != len(pictures):
        raise FailedPrecondition(f"The model answered {len(pictures)} pictures with {len(predictions)} predictions.")
    return [_reply(each) for each in predictions]


def _reply(prediction: Prediction) -> Reply:
    """A lenient signature of cnn-tf's exports tells of each picture whether it is one, and why not."""
    if not {"valid", "problem"} <= prediction.arrays.keys() or prediction["valid"]:
        return prediction
    return Refused(InvalidArgument(f"it {prediction['problem'].item().decode()}"))


def _said(message: str) -> str:
    """TensorFlow puts names of the graph's nodes and functions around its texts, which tell a user nothing."""
    lines = [re.sub(r"\{\{.*?\}\}", "", line).strip() for line in message.splitlines()]
    said = [line for line in lines if line and not line.startswith("[[") and line != "Graph execution error:"]
    text = re.sub(r"^assertion failed: \[(.*)\]$", r"\1", said[-1]) if said else message
    return re.sub(r"^Picture \d+ of the batch ", "it ", text)  # in a batch that the caller never saw
