"""Runs a batch and answers its requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from serving.errors import ServingError
from serving.server.batching.joining import NotBatched, join, take_apart
from serving.server.batching.parameters import Parameters
from serving.server.batching.request import Answer, Function, Request
from serving.server.batching.waiting import Batch
from serving.wire.tensors import Array

_log = logging.getLogger(__name__)

Observer: TypeAlias = Callable[[int, int, int, Sequence[float]], None]
"""Told of each batch before it runs: requests, their examples, added padding, seconds that each waited."""

Answering: TypeAlias = Callable[[int], None]
"""Told how many requests of a joint run are about to be answered."""


class Execution:
    """How the batches of one batcher are run."""

    def __init__(self, parameters: Parameters, observe: Observer, answering: Answering | None = None) -> None:
        self._parameters = parameters
        self._observe = observe
        self._answering = answering

    def run(self, batch: Batch, now: float) -> None:
        """Runs what is still wanted and answers all; `now` is when it was taken, on the clock of `time.monotonic`."""
        requests = batch.requests
        if len(requests) == 1 and (batch.kind is None or not self._parameters.is_strict):
            request = requests[0]
            if _is_wanted(request):
                self._tell(1, request.size, 0, (now - request.since,))
                _run_alone(batch.function, request)
        elif wanted := [request for request in requests if _is_wanted(request)]:
            sizes = [request.size for request in wanted]
            self._tell(len(wanted), sum(sizes), self._padding(sizes), [now - request.since for request in wanted])
            self._run(batch.function, wanted)

    def _tell(self, requests: int, examples: int, padding: int, seconds: Sequence[float]) -> None:
        try:
            self._observe(requests, examples, padding, seconds)
        except Exception:
            _log.exception("A batch could not be observed")

    def _padding(self, sizes: Sequence[int]) -> int:
        """Examples to add to those of requests; they are copies of the last one's first, so there must be one."""
        return self._parameters.padding(sum(sizes)) if sizes[-1] else 0

    def _run(self, function: Function, requests: Sequence[Request]) -> None:
        if len(requests) == 1 and not self._parameters.is_strict:
            return _run_alone(function, requests[0])
        try:
            answers = self._joined(function, requests)
        except Exception as error:
            return self._run_divided(function, requests, error)
        if self._answering is not None:
            self._answering(len(requests))
        for request, answer in zip(requests, answers, strict=True):
            reply(request, answer)
        return None

    def _joined(self, function: Function, requests: Sequence[Request]) -> Sequence[Answer]:
        sizes = [request.size for request in requests]
        padding = self._padding(sizes)
        feeds = join([request.feeds for request in requests], padding, self._parameters.pad_variable_length_inputs)
        return take_apart(_call(function, feeds, requests), sizes, sum(sizes) + padding)

    def _run_divided(self, function: Function, requests: Sequence[Request], error: Exception) -> None:
        """After a batch has failed: each half by itself, and so on.

        A bad request must not fail the others. To find one among n costs 2 log2(n) runs, to find n costs 2 n.
        """
        if len(requests) == 1 or (self._parameters.is_strict and isinstance(error, NotBatched)):
            for request in requests:
                reply(request, error)
            return
        _log.debug("A batch of %d requests failed, running it in parts: %s", len(requests), error)
        # What cannot be told apart when it runs together is not to be halved.
        middle = 1 if isinstance(error, NotBatched) else len(requests) // 2
        for part in (requests[:middle], requests[middle:]):
            if wanted := [request for request in part if _is_wanted(request)]:
                self._run(function, wanted)


def _run_alone(function: Function, request: Request) -> None:
    try:
        answer: Answer = _call(function, request.feeds, (request,))
    except Exception as error:
        answer = error
    reply(request, answer)


def _call(function: Function, feeds: Sequence[Array], requests: Sequence[Request]) -> Sequence[Any]:
    """Runs it for as long as one of the requests waits for its answer."""
    end = 0.0
    for request in requests:
        if (deadline := request.call.deadline) is None:
            return function(*feeds)
        end = max(end, deadline)
    return function(*feeds, seconds=end - time.monotonic())


def _is_wanted(request: Request) -> bool:
    """Whether somebody still waits for the answer; otherwise it is answered with that."""
    try:
        request.call.require_wanted()
    except ServingError as error:
        reply(request, error)
        return False
    return True


def reply(request: Request, answer: Answer) -> None:
    """Hands the answer over. What fails in the receiver is logged, since the others wait for theirs."""
    try:
        request.done(answer)
    except Exception:
        _log.exception("An answer could not be delivered")
