"""The exceptions of `serving`, one class per gRPC status that it uses; server and client share them.

    ServingError
    ├── Cancelled           the caller gave up
    ├── InvalidArgument     the request is wrong in itself (HTTP 400)
    ├── DeadlineExceeded    no answer within the timeout (504)
    ├── NotFound            no such model or version is served (404)
    ├── AlreadyExists       (409)
    ├── PermissionDenied    (403)
    ├── ResourceExhausted   a limit of size or load was reached (429)
    ├── FailedPrecondition  the request does not fit this model, for example its signature (400)
    ├── Aborted             (409)
    ├── OutOfRange          (400)
    ├── Unimplemented       (501)
    ├── Internal            a fault of the server (500)
    ├── Unavailable         nobody answers there, or the server is stopping (503)
    ├── DataLoss            (500)
    └── Unauthenticated     (401)

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
    code = grpc.StatusCode.CANCELLED
    http_status = 499


class InvalidArgument(ServingError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class DeadlineExceeded(ServingError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class NotFound(ServingError):
    code = grpc.StatusCode.NOT_FOUND
    http_status = 404


class AlreadyExists(ServingError):
    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409


class PermissionDenied(ServingError):
    code = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403


class ResourceExhausted(ServingError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429


class FailedPrecondition(ServingError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 400


class Aborted(ServingError):
    code = grpc.StatusCode.ABORTED
    http_status = 409


class OutOfRange(ServingError):
    code = grpc.StatusCode.OUT_OF_RANGE
    http_status = 400


class Unimplemented(ServingError):
    code = grpc.StatusCode.UNIMPLEMENTED
    http_status = 501


class Internal(ServingError):
    code = grpc.StatusCode.INTERNAL


class Unavailable(ServingError):
    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503


class DataLoss(ServingError):
    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(ServingError):
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
