"""All of a client but its input and output: requests, checks, answers, deadlines, retries. See `steps`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from google.protobuf import text_format
from google.protobuf.message import Message

from serving import errors, wire
from serving.client import bulk, tracing
from serving.client.connection import Address, Connection, target
from serving.client.examples import serialized_input
from serving.client.inputs import Inputs, checked, files, unchecked, with_contents
from serving.client.results import Predictions, read_classes
from serving.client.retries import NEVER, Retry
from serving.client.signatures import ModelStatus, Signatures, read_signatures, read_statuses
from serving.client.steps import Call, Failed, Outcome, Pause, Read, Steps
from serving.wire import messages_pb2 as pb

# Seconds a call may take unless the caller says otherwise.
DEFAULT_TIMEOUT = 10.0
# Beyond this gRPC's clock runs over.
MAX_TIMEOUT = 1e8
# Seconds between two questions whether a server is ready.
POLL_SECONDS = 0.1

REQUEST_ID = "x-request-id"


class Choice(NamedTuple):
    """Which version of the model: a number, a label, or neither, which is the newest."""

    version: int | None = None
    label: str | None = None


class Limits(NamedTuple):
    """What all attempts of one call of the user's share: its end, by the monotonic clock, and its id.

    is_probe: nobody wants to read of it in a trace.
    """

    end: float
    request_id: str
    is_probe: bool = False

    def left(self) -> float:
        """Seconds; gRPC answers with DEADLINE_EXCEEDED for the least."""
        return max(self.end - time.monotonic(), 1e-3)


class Protocol(NamedTuple):
    """What carries the calls; trace: begins the span of a call, of gRPC's name of the method and the server's address."""

    name: str
    trace: Callable[[str, str], tracing.Span]


GRPC = Protocol("gRPC", tracing.rpc)
REST = Protocol("REST", tracing.http)


class Core:
    """The methods of a client, as steps; the clients' own are made of them. `PredictClient` tells what they raise."""

    def __init__(
        self,
        address: Address,
        model: str,
        *,
        timeout: float,
        retry: Retry | None,
        hedge_after: float | None,
        connection: Connection,
        check: bool,
        protocol: Protocol = GRPC,
    ) -> None:
        require_timeout(timeout)
        if hedge_after is not None:
            require_timeout(hedge_after)
        self.address = target(address)
        self.model = model
        self._timeout = timeout
        self._retry = retry or NEVER
        self._hedge_after = hedge_after
        self._connection = connection
        self._check = check
        self._protocol = protocol
        self._known: dict[Choice, tuple[int, Signatures]] = {}

    def predict(
        self,
        inputs: object,
        *,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Steps[Predictions]:
        """Runs the model on pictures, or on inputs by name.

        inputs: one picture or a list of them: encoded, as bytes or the path of a file; or as an array (height, width,
            channels), nested lists, or a picture of PIL; an array of them all has the batch as its first axis. Encoded ones
            go to the signature serving_bytes, others to serving_default.
            Or a dict of all inputs by name: arrays or nested lists, the first axis is the batch; a pathlib.Path is read.
        signature: "" means the above, and serving_default for named inputs.  version, label: of the model; without them, the
            newest.  outputs: names wanted, none means all.  request_id: told to the server for its logs; None makes one.

        Raises InvalidArgument for inputs of another data type or shape, before they are sent; OSError for a file that cannot be
        read.
        """
        choice, limits = _choice(version, label), self._limits(timeout, request_id)
        fitting = yield from self._fitting(inputs, signature, choice, limits)
        request = wire.predict_request(self._spec(choice, fitting.signature), fitting.arrays, outputs)
        answer = yield from self._ask(wire.PREDICT, request, limits, hedge_after=self._hedge_after)
        arrays, answered_by = wire.read_predict_response(answer)
        self._forget_another(choice, answered_by)
        return Predictions(arrays, answered_by, limits.request_id)

    def map(
        self,
        pictures: Iterable[object] | AsyncIterable[object],
        *,
        batch_size: int = 32,
        in_flight: int = 4,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
        read: Callable[[Path], bytes] = Path.read_bytes,
    ) -> bulk.Plan:
        """Predictions of any number of pictures, also of an endless stream: an iterator, in the pictures' order.

        In the place of a picture that the model refuses, or of a file that cannot be read, is a Refused with the reason; the
        others have their answers. All other errors end the run. What was given until then is a prefix: go on behind it.
        A batch that is refused is asked about in halves; the signature serving_bytes_lenient, of exports that have it, names
        the bad pictures at once. Prefer it where TensorFlow Serving batches requests together (--enable_batching): there, a
        bad picture fails the requests beside it, and good ones in them may be taken for bad.

        pictures: each as predict takes one. No more of them are held than batch_size * in_flight: more are taken once answers
            have been taken. AsyncPredictClient takes an asynchronous iterable too.
        batch_size: pictures in a request, which is sent when they are all there.  in_flight: requests at once; the first one's
            answers are given when so many are under way, or no more pictures come. Both are 1 for a live stream, whose
            pictures are to be answered before the next one comes.  timeout: seconds for each.  The others are as in predict.
        read: gives a file's contents, in a thread of its own; for example a smaller picture. Raises OSError.

        Closing the iterator, or what ends it, cancels the requests under way.

        Raises ValueError for sizes below 1.
        """
        choice = _choice(version, label)

        def predict(batch: list[object]) -> Steps[Predictions]:
            return self.predict(
                batch, signature=signature, version=version, label=label, outputs=outputs, timeout=timeout
            )

        def answers(batch: list[object]) -> Steps[list[bulk.Reply]]:
            if self._check:  # what is wrong with the model's name or label is no picture's fault
                yield from self._known_signatures(choice, self._limits(timeout))
            return (yield from bulk.answers(batch, predict, read))

        return bulk.plan(pictures, answers, batch_size, in_flight)

    def classify(
        self,
        examples: object,
        *,
        signature: str = "classify",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Steps[Predictions]:
        """Asks TensorFlow Serving's Classify API, whose answers are named classes with scores.

        examples: one or a list of them: an encoded picture, as bytes or the path of a file, which becomes the feature
            image/encoded; or a dict of features, {name: number, text, bytes, or a list of one kind}.
        signature: one that takes tf.Examples; "" means serving_default.  The others are as in predict.

        Raises InvalidArgument for what is no example; FailedPrecondition for a signature that is not of this kind; OSError for
        a file that cannot be read.
        """
        choice, limits = _choice(version, label), self._limits(timeout, request_id)
        packed = serialized_input((yield from _with_contents(examples)))
        request = pb.ExamplesRequest(model_spec=self._spec(choice, signature), input=packed)
        answer = yield from self._ask(wire.CLASSIFY, request, limits, hedge_after=self._hedge_after)
        return read_classes(pb.ClassificationResponse.FromString(answer), limits.request_id)

    def metadata(
        self, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> Steps[Signatures]:
        """What the model takes and gives, by signature name. Asks the server each time."""
        choice = _choice(version, label)
        return (yield from self._signatures(choice, self._limits(timeout)))

    def status(self, *, timeout: float | None = None) -> Steps[list[ModelStatus]]:
        """State of every version that the server has seen, the highest first."""
        return (yield from self._status(self._limits(timeout), self._retry))

    def wait_until_ready(self, timeout: float = 60.0) -> Steps[int]:
        """Waits until the server answers and a version is available, and returns its number.

        Raises Unavailable, NotFound or DeadlineExceeded if that does not come true within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                limits = self._limits(min(max(left, 0.1), self._timeout))._replace(is_probe=True)
                statuses = yield from self._status(limits, NEVER)
                return self._available(statuses)
            except (errors.Unavailable, errors.NotFound, errors.DeadlineExceeded):
                if left <= 0:
                    raise
            yield Pause(min(POLL_SECONDS, left))

    def reload(self, config: str, *, timeout: float | None = None) -> Steps[None]:
        """Gives the server another list of models, and waits until each new one of them has a version.

        config: all of it, the text of a models.config file. What is not in it is unloaded.
            model_config_list { config { name: "m" base_path: "/models/m" model_platform: "tensorflow" } }

        Raises InvalidArgument for a text that says something else, and for models that the server refuses;
        FailedPrecondition for a label of a version that is not served; ServingError (UNKNOWN) if a new model does not load.
        """
        if not isinstance(config, str):
            raise errors.InvalidArgument(
                f"Expected the text of a models.config file, such as path.read_text(). Received: {type(config).__name__}."
            )
        try:
            wanted = text_format.Parse(config, pb.ModelServerConfig())
        except text_format.ParseError as error:
            raise errors.InvalidArgument(f"Expected the text of a models.config file: {error}.") from error
        yield from self._ask(wire.RELOAD_CONFIG, pb.ReloadConfigRequest(config=wanted), self._limits(timeout))

    def _fitting(self, given: object, signature: str, choice: Choice, limits: Limits) -> Steps[Inputs]:
        """What is sent of `given`; it fits the signature as far as the server tells it."""
        given = yield from _with_contents(given)
        is_named = isinstance(given, Mapping)
        known = (yield from self._known_signatures(choice, limits, needed=not is_named)) if self._check else None
        if known is None:
            return unchecked(given, signature)
        try:
            return checked(given, signature, known)
        except errors.ServingError:
            if choice.version is not None:
                raise
        # A newer version may take them.
        return checked(given, signature, (yield from self._signatures(choice, limits)))

    def _known_signatures(self, choice: Choice, limits: Limits, *, needed: bool = True) -> Steps[Signatures | None]:
        """Asks once for each choice. None if the server does not tell, and they are not `needed`."""
        if choice not in self._known:
            try:
                yield from self._signatures(choice, limits)
            except errors.Unimplemented as error:
                if not needed:
                    return None
                raise errors.Unimplemented(
                    f"{self.address} does not tell what its models take ({error.message}). Is this the {self._protocol.name} "
                    "port of TensorFlow Serving, or of cnn-tf serve? If so, name the input: {'images': ...}."
                ) from error
        return self._known[choice][1]

    def _signatures(self, choice: Choice, limits: Limits) -> Steps[Signatures]:
        request = pb.GetModelMetadataRequest(model_spec=self._spec(choice), metadata_field=["signature_def"])
        answer = yield from self._ask(wire.GET_MODEL_METADATA, request, limits)
        response = pb.GetModelMetadataResponse.FromString(answer)
        found = read_signatures(response)
        self._known[choice] = response.model_spec.version.value, found
        return found

    def _forget_another(self, choice: Choice, version: int) -> None:
        """What is known of the newest, or of a label, is no more once another version answers."""
        known = self._known.get(choice)
        if known and known[0] != version:
            self._known.pop(choice, None)

    def _status(self, limits: Limits, retry: Retry) -> Steps[list[ModelStatus]]:
        request = pb.GetModelStatusRequest(model_spec=self._spec(Choice()))
        answer = yield from self._ask(wire.GET_MODEL_STATUS, request, limits, retry)
        return read_statuses(pb.GetModelStatusResponse.FromString(answer))

    def _available(self, statuses: list[ModelStatus]) -> int:
        available = [entry.version for entry in statuses if entry.state == "AVAILABLE"]
        if not available:
            states = ", ".join(f"{entry.version}: {entry.state} {entry.error}".strip() for entry in statuses)
            raise errors.NotFound(f"No version of model {self.model} is available at {self.address} ({states}).")
        return max(available)

    def _spec(self, choice: Choice, signature: str = "") -> pb.ModelSpec:
        spec = pb.ModelSpec(name=self.model, signature_name=signature)
        if choice.version is not None:
            spec.version.value = choice.version
        elif choice.label is not None:
            spec.version_label = choice.label
        return spec

    def _limits(self, timeout: float | None, request_id: str | None = None) -> Limits:
        seconds = self._timeout if timeout is None else timeout
        require_timeout(seconds)
        return Limits(time.monotonic() + seconds, request_id or uuid.uuid4().hex)

    def _ask(
        self,
        method: str,
        request: Message | bytes,
        limits: Limits,
        retry: Retry | None = None,
        hedge_after: float | None = None,
    ) -> Steps[bytes]:
        """The answer of the first attempt that has one. retry: None means the client's own."""
        data, attempts = request if isinstance(request, bytes) else request.SerializeToString(), 0
        with tracing.UNTRACED if limits.is_probe else self._protocol.trace(method, self.address) as span:
            while True:
                metadata = ((REQUEST_ID, limits.request_id), *self._connection.metadata(), *span.metadata)
                answer = yield Call(method, data, limits.left(), metadata, hedge_after, span)
                if isinstance(answer, bytes):
                    return answer
                attempts += 1
                error = self._error(answer, limits)
                pause = (retry or self._retry).pause(error, attempts, limits.end - time.monotonic())
                if pause is None:
                    raise error
                span.retry(error, pause)
                yield Pause(pause)

    def _error(self, failed: Outcome, limits: Limits) -> errors.ServingError:
        if not isinstance(failed, Failed):
            raise TypeError("A call was not answered.")
        error = errors.from_code(failed.code, self._explain(failed))
        error.request_id = limits.request_id
        error.__cause__ = failed.cause
        return error

    def _explain(self, failed: Failed) -> str:
        """The protocol's own texts say little to a person; those of a server are kept as they are."""
        if failed.code is grpc.StatusCode.UNAVAILABLE and "connect" in failed.details.lower():
            return (
                f"No server answers at {self.address}. Is it running, and is this its {self._protocol.name} port? "
                f"({failed.details})"
            )
        if failed.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{self.address} did not answer within the timeout. ({failed.details})"
        return failed.details


def require_timeout(seconds: float) -> None:
    """There is no call without an end."""
    if not isinstance(seconds, (int, float)) or not 0 < seconds < MAX_TIMEOUT:
        raise ValueError(f"A timeout is a number of seconds above 0 and below {MAX_TIMEOUT:g}. Received: {seconds!r}.")


def _with_contents(given: object) -> Steps[object]:
    """`given`, with the contents of files in place of their names."""
    named = files(given)
    if not named:
        return given
    contents = yield Read(named)
    if not isinstance(contents, list):
        raise TypeError("Files were not read.")
    return with_contents(given, iter([_readable(each) for each in contents]))


def _readable(contents: bytes | OSError) -> bytes:
    if isinstance(contents, OSError):
        raise contents
    return contents


def _choice(version: int | None, label: str | None) -> Choice:
    if version is not None and label is not None:
        raise ValueError(f"Pass a version or a label. Received: {version} and {label!r}.")
    return Choice(version, label)
