"""The exceptions of `serving`, one class per gRPC status that it uses; server and client share them.

    ServingError
    ├── Cancelled, DeadlineExceeded                                    the caller gave up, or waited long enough
    ├── InvalidArgument, OutOfRange, FailedPrecondition, NotFound      the request is wrong, or does not fit what is served
    ├── AlreadyExists, Aborted, Unimplemented                          the same, in rarer ways
    ├── Unauthenticated, PermissionDenied                              whoever asks may not
    ├── ResourceExhausted, Unavailable                                 not now
    └── Internal, DataLoss                                             the server's fault

The server raises them and answers with their code and text; the client turns a code back into the same class. The HTTP
statuses are those of TensorFlow Serving's REST interface.
"""

from __future__ import annotations

from typing import ClassVar

import grpc


class ServingError(Exception):
    """Base of all; also what an unknown status becomes. `message` is for people, `exit_code` what a command ends with."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_seconds = retry_seconds  # when to try again, if that is known
        self.request_id = ""  # by which the server's logs know the call, if a client made it


class Cancelled(ServingError):
    """The caller gave up (HTTP 499)."""

    code = grpc.StatusCode.CANCELLED
    http_status = 499


class InvalidArgument(ServingError):
    """The request is wrong in itself (HTTP 400)."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class DeadlineExceeded(ServingError):
    """No answer within the timeout (HTTP 504)."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class NotFound(ServingError):
    """No such model or version is served (HTTP 404)."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404


class AlreadyExists(ServingError):
    """There is one already (HTTP 409)."""

    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409


class PermissionDenied(ServingError):
    """Whoever asks may not (HTTP 403)."""

    code = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403


class ResourceExhausted(ServingError):
    """A limit of size or load was reached (HTTP 429)."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429


class FailedPrecondition(ServingError):
    """The request does not fit this model, for example its signature (HTTP 400)."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 400


class Aborted(ServingError):
    """Something else was at the same at the same time (HTTP 409)."""

    code = grpc.StatusCode.ABORTED
    http_status = 409


class OutOfRange(ServingError):
    """Beyond the end of something (HTTP 400)."""

    code = grpc.StatusCode.OUT_OF_RANGE
    http_status = 400


class Unimplemented(ServingError):
    """The server has no such method, or cannot do it in this form (HTTP 501)."""

    code = grpc.StatusCode.UNIMPLEMENTED
    http_status = 501


class Internal(ServingError):
    """A fault of the server (HTTP 500)."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(ServingError):
    """Nobody answers there, or the server is stopping: try again (HTTP 503)."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503


class DataLoss(ServingError):
    """Data is lost or damaged (HTTP 500)."""

    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(ServingError):
    """A valid token or certificate is missing (HTTP 401)."""

    code = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401


BY_CODE: dict[grpc.StatusCode, type[ServingError]] = {error.code: error for error in ServingError.__subclasses__()}
BY_NUMBER: dict[int, type[ServingError]] = {code.value[0]: error for code, error in BY_CODE.items()}


def from_code(code: grpc.StatusCode, message: str) -> ServingError:
    """The exception of this tree for a gRPC status."""
    return BY_CODE.get(code, ServingError)(message)


def from_number(number: int, message: str) -> ServingError:
    """The same for the status's number, as TensorFlow's `OpError.error_code` has it (google.rpc.Code)."""
    return BY_NUMBER.get(number, ServingError)(message)
