"""The synchronous gRPC client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message

from serving import errors, wire
from serving.wire import messages_pb2 as pb
from serving.wire.tensors import BY_NUMBER, Array

# Seconds a call may take unless the caller says otherwise.
DEFAULT_TIMEOUT = 10.0
# Beyond this gRPC's clock runs over.
MAX_TIMEOUT = 1e8


class TensorSpec(NamedTuple):
    """Data type (NumPy's name, or "string") and shape of an input or output; None is any size, usually the batch."""

    dtype: str
    shape: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """What a model takes and gives under one signature name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class ModelStatus(NamedTuple):
    """State of one version: START, LOADING, AVAILABLE, UNLOADING or END; `error` is "" unless loading it failed."""

    version: int
    state: str
    error: str


class Prediction(dict[str, Array]):
    """Output arrays by name, and the version of the model that made them."""

    def __init__(self, outputs: Mapping[str, Array], version: int) -> None:
        super().__init__(outputs)
        self.version = version


class PredictClient:
    """Predictions of one model of a server; a context manager, safe to use from many threads.

    All methods raise subclasses of `ServingError`: `Unavailable` if nobody answers, `DeadlineExceeded` after the timeout,
    `NotFound` for an unknown model or version, `InvalidArgument` for inputs that the model refuses.
    """

    def __init__(self, address: str, model: str, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Connects to `address` ("host:port") at the first call.

        timeout: seconds that a call may take; each call can have its own.

        Raises ValueError for a timeout that is not a positive number of seconds.
        """
        _require_timeout(timeout)
        self.address = address
        self.model = model
        self._timeout = timeout
        self._channel = grpc.insecure_channel(address, options=wire.CHANNEL_OPTIONS)
        self._predict = self._method(wire.PREDICT, pb.PredictResponse)
        self._get_metadata = self._method(wire.GET_MODEL_METADATA, pb.GetModelMetadataResponse)
        self._get_status = self._method(wire.GET_MODEL_STATUS, pb.GetModelStatusResponse)

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._channel.close()

    def predict(
        self,
        inputs: Mapping[str, object],
        *,
        signature: str = "",
        version: int | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Prediction:
        """Runs the model on `inputs`: arrays, or nested lists of numbers, text or bytes; the first axis is the batch.

        signature: "" means serving_default.  version: None means the newest.  outputs: names wanted, none means all.
        """
        request = pb.PredictRequest(model_spec=self._spec(version, signature), output_filter=outputs)
        for name, value in inputs.items():
            wire.fill(request.inputs[name], wire.as_array(value))
        response = self._call(self._predict, request, timeout)
        arrays = {name: wire.to_array(tensor) for name, tensor in response.outputs.items()}
        return Prediction(arrays, response.model_spec.version.value)

    def signatures(self, *, version: int | None = None, timeout: float | None = None) -> dict[str, Signature]:
        """What the model takes and gives, by signature name."""
        request = pb.GetModelMetadataRequest(model_spec=self._spec(version), metadata_field=["signature_def"])
        response = self._call(self._get_metadata, request, timeout)
        found = pb.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def
        return {name: Signature(_specs(item.inputs), _specs(item.outputs)) for name, item in found.items()}

    def status(self, *, timeout: float | None = None) -> list[ModelStatus]:
        """State of every version that the server has seen, the highest first."""
        request = pb.GetModelStatusRequest(model_spec=self._spec())
        response = self._call(self._get_status, request, timeout)
        return [
            ModelStatus(entry.version, pb.ModelVersionStatus.State.Name(entry.state), entry.status.error_message)
            for entry in response.model_version_status
        ]

    def wait_until_ready(self, timeout: float = 60.0) -> int:
        """Waits until the server answers and a version is available, and returns its number.

        Raises Unavailable or NotFound if that does not come true within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                return self._available_version(max(left, 0.1))
            except (errors.Unavailable, errors.NotFound, errors.DeadlineExceeded):
                if left <= 0:
                    raise
            time.sleep(min(0.1, left))

    def _available_version(self, timeout: float) -> int:
        statuses = self.status(timeout=min(timeout, self._timeout))
        available = [entry.version for entry in statuses if entry.state == "AVAILABLE"]
        if not available:
            states = ", ".join(f"{entry.version}: {entry.state} {entry.error}".strip() for entry in statuses)
            raise errors.NotFound(f"No version of model {self.model} is available at {self.address} ({states}).")
        return max(available)

    def _spec(self, version: int | None = None, signature: str = "") -> pb.ModelSpec:
        spec = pb.ModelSpec(name=self.model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        return spec

    def _method(self, name: str, response: type[Message]) -> Callable[..., Any]:
        method: Callable[..., Any] = self._channel.unary_unary(
            name,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return method

    def _call(self, method: Callable[..., Any], request: Message, timeout: float | None) -> Any:
        seconds = self._timeout if timeout is None else timeout
        _require_timeout(seconds)
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise errors.from_code(error.code(), self._explain(error)) from error
        except ValueError as error:  # gRPC's word for a closed channel
            raise errors.Cancelled(f"This client is closed ({error}).") from error

    def _explain(self, error: Any) -> str:
        """GRPC's own texts say little to a person; those of a server are kept as they are."""
        if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in error.details().lower():
            return f"No server answers at {self.address}. Is it running, and is this its gRPC port? ({error.details()})"
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{self.address} did not answer within the timeout. ({error.details()})"
        return str(error.details())


def _require_timeout(seconds: float) -> None:
    """There is no call without an end."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds < MAX_TIMEOUT:
        raise ValueError(f"A timeout is a number of seconds above 0 and below {MAX_TIMEOUT:g}. Received: {seconds!r}.")


def _specs(infos: Mapping[str, pb.TensorInfo]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_dtype(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(infos.items())}


def _dtype(number: int) -> str:
    if number == pb.DT_STRING:
        return "string"
    return BY_NUMBER[number].numpy.name if number in BY_NUMBER else f"type {number}"


def _shape(shape: pb.TensorShapeProto) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
