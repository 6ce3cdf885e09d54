"""What a client's core asks of whoever does its input and output, with threads or with asyncio.

A method of the core is a generator of steps. It is sent what came of each: the answer's bytes of a call, or why it failed; the
contents of files, or why they cannot be read; nothing of a pause. What it returns is the result; what it raises is for the
caller.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args

import grpc

from serving.client.tracing import UNTRACED, Span

Given = ParamSpec("Given")
Result = TypeVar("Result")
Answered = TypeVar("Answered")


class Call(NamedTuple):
    """One attempt at a method (gRPC's full name), which ends within `seconds`; without an answer, it is a Failed.

    hedge_after: seconds after which, if there is no answer yet, the same is sent a second time; the first answer counts, and
        the other attempt is cancelled. None: never.
    span: of the call that this is an attempt at.
    """

    method: str
    request: bytes
    seconds: float
    metadata: tuple[tuple[str, str], ...]
    hedge_after: float | None = None
    span: Span = UNTRACED

    def hedge(self) -> Call:
        """The second attempt."""
        return self._replace(seconds=max(self.seconds - (self.hedge_after or 0), 1e-3), hedge_after=None)


class Pause(NamedTuple):
    """Nothing is done for a while."""

    seconds: float


class Read(NamedTuple):
    """The contents of files are wanted, as `how` gives them, which raises OSError."""

    files: list[Path]
    how: Callable[[Path], bytes] = Path.read_bytes


class Failed(NamedTuple):
    """An attempt that was answered with a status, or not at all."""

    code: grpc.StatusCode
    details: str
    cause: BaseException | None = None

    @classmethod
    def of(cls, error: Any) -> Failed:
        """What gRPC raised."""
        return cls(error.code(), error.details() or "", error)


Step = Call | Pause | Read
Outcome = bytes | Failed | list[bytes | OSError] | None
Steps = Generator[Step, Outcome, Result]


def read(step: Read) -> list[bytes | OSError]:
    """What is in the files, or why one cannot be read."""

    def contents(file: Path) -> bytes | OSError:
        try:
            return step.how(file)
        except OSError as error:
            return error

    return [contents(file) for file in step.files]


def present(
    of_client: Callable[Given, Answered], method: Callable[..., Any], returned: object = None
) -> Callable[Given, Answered]:
    """Gives a client's method, which runs the core's `method`, its name, signature and docstring.

    returned: type of what the client's returns; None: the result of the core's steps.
    """
    of_client.__name__, of_client.__doc__ = method.__name__, method.__doc__
    # Evaluated where the core is written: the client's module does not know all of its names.
    signature = inspect.signature(method, eval_str=True)
    annotation = returned or get_args(signature.return_annotation)[-1]
    of_client.__signature__ = signature.replace(return_annotation=annotation)  # type: ignore[attr-defined]
    return of_client
