"""What a call of gRPC's is in HTTP and JSON: each becomes an exchange of requests and responses, without input and output.

REST tells less than gRPC does. Data types of an answer come from the model's metadata, asked for once; which version answered
is not told, so it is 0 unless the call names one. All outputs are sent, whichever are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc
from google.protobuf import json_format

from serving import errors, wire
from serving.client.inputs import DEFAULT_SIGNATURE
from serving.client.rest import values
from serving.client.signatures import Signature, Signatures, read_signatures
from serving.client.steps import Call
from serving.wire import messages_pb2 as pb
from serving.wire.tensors import Array


class Request(NamedTuple):
    """Of HTTP: `path` begins with /v1; without a body it is a GET."""

    path: str
    body: bytes | None = None


class Response(NamedTuple):
    """Of HTTP."""

    status: int
    body: bytes


Exchange = Generator[Request, Response, bytes]

_Code = grpc.StatusCode
# Where TensorFlow Serving, or a proxy before it, has one HTTP status for several of gRPC's, the likeliest.
_CODES = {
    400: _Code.INVALID_ARGUMENT,
    401: _Code.UNAUTHENTICATED,
    403: _Code.PERMISSION_DENIED,
    404: _Code.NOT_FOUND,
    409: _Code.ABORTED,
    413: _Code.RESOURCE_EXHAUSTED,  # gRPC's for a message that is too large
    429: _Code.RESOURCE_EXHAUSTED,
    499: _Code.CANCELLED,
    500: _Code.INTERNAL,
    501: _Code.UNIMPLEMENTED,
    502: _Code.UNAVAILABLE,
    503: _Code.UNAVAILABLE,
    504: _Code.DEADLINE_EXCEEDED,
}


class Exchanges:
    """Of one client, which remembers what models give."""

    def __init__(self) -> None:
        self._known: dict[str, Signatures] = {}

    def of(self, call: Call) -> Exchange:
        """Yields requests, takes their responses, and returns what gRPC would answer. Raises ServingError."""
        methods: dict[str, Callable[[bytes], Exchange]] = {
            wire.PREDICT: self._predict,
            wire.CLASSIFY: self._classify,
            wire.GET_MODEL_METADATA: self._metadata,
            wire.GET_MODEL_STATUS: self._status,
        }
        if call.method not in methods:
            raise errors.Unimplemented(
                f"{call.method.rpartition('/')[2]} is a call of gRPC's only in TensorFlow Serving. Use PredictClient."
            )
        return (yield from methods[call.method](call.request))

    def _predict(self, serialized: bytes) -> Exchange:
        request = pb.PredictRequest.FromString(serialized)
        path = _path(request.model_spec)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in self._known.get(path, ()):
            yield from self._ask_signatures(path, request.model_spec)
        _require_outputs(request.output_filter, self._signature(path, name))
        inputs = {key: values.written(key, wire.to_array(tensor)) for key, tensor in request.inputs.items()}
        body = values.dump({"signature_name": name, "inputs": inputs})
        answer = _json((yield Request(f"{path}:predict", body)))
        try:
            arrays = _outputs(answer, self._signature(path, name))
        except (ValueError, LookupError):  # of another version, perhaps, than the one that was asked what it gives
            yield from self._ask_signatures(path, request.model_spec)
            arrays = _outputs_or_internal(answer, self._signature(path, name))
        response = pb.PredictResponse(model_spec=_answered_by(request.model_spec))
        for key in request.output_filter or arrays:
            wire.fill(response.outputs[key], arrays[key])
        return response.SerializeToString()

    def _classify(self, serialized: bytes) -> Exchange:
        request = pb.ExamplesRequest.FromString(serialized)
        examples = pb.Input.FromString(request.input).example_list.examples
        content: dict[str, object] = {"examples": [values.example(each) for each in examples]}
        if request.model_spec.signature_name:
            content["signature_name"] = request.model_spec.signature_name
        answer = _json((yield Request(f"{_path(request.model_spec)}:classify", values.dump(content))))
        response = pb.ClassificationResponse(model_spec=_answered_by(request.model_spec))
        try:
            for row in answer["results"]:
                classes = [pb.Class(label=label, score=score) for label, score in row]
                response.result.classifications.append(pb.Classifications(classes=classes))
        except (LookupError, TypeError, ValueError) as error:
            raise _unexpected(answer) from error
        return response.SerializeToString()

    def _metadata(self, serialized: bytes) -> Exchange:
        request = pb.GetModelMetadataRequest.FromString(serialized)
        response = yield from self._ask_signatures(_path(request.model_spec), request.model_spec)
        return response.SerializeToString()

    def _status(self, serialized: bytes) -> Exchange:
        request = pb.GetModelStatusRequest.FromString(serialized)
        answer = _json((yield Request(_path(request.model_spec))))
        response = pb.GetModelStatusResponse()
        try:
            for told in answer["model_version_status"]:
                status = pb.StatusProto(error_message=told.get("status", {}).get("error_message", ""))
                response.model_version_status.add(version=int(told["version"]), state=told["state"], status=status)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unexpected(answer) from error
        return response.SerializeToString()

    def _ask_signatures(
        self, path: str, spec: pb.ModelSpec
    ) -> Generator[Request, Response, pb.GetModelMetadataResponse]:
        answer = _json((yield Request(f"{path}/metadata")))
        try:
            told = answer["metadata"]["signature_def"]
            parsed = json_format.ParseDict(told, pb.SignatureDefMap(), ignore_unknown_fields=True)
        except (LookupError, TypeError, json_format.ParseError) as error:
            raise _unexpected(answer) from error
        response = pb.GetModelMetadataResponse(model_spec=_answered_by(spec))
        response.metadata["signature_def"].value = parsed.SerializeToString()
        self._known[path] = read_signatures(response)
        return response

    def _signature(self, path: str, name: str) -> Signature:
        if name not in self._known[path]:
            raise errors.FailedPrecondition(f'Serving signature key "{name}" not found.')
        return self._known[path][name]


def _path(spec: pb.ModelSpec) -> str:
    path = f"/v1/models/{quote(spec.name, safe='')}"
    if spec.HasField("version"):
        return f"{path}/versions/{spec.version.value}"
    return f"{path}/labels/{quote(spec.version_label, safe='')}" if spec.version_label else path


def _answered_by(asked: pb.ModelSpec) -> pb.ModelSpec:
    """What is sure of the version that answered."""
    spec = pb.ModelSpec(name=asked.name)
    if asked.HasField("version"):
        spec.version.value = asked.version.value
    return spec


def _require_outputs(wanted: Any, signature: Signature) -> None:
    """Refuses what the server would over gRPC, in its words."""
    for number, name in enumerate(wanted):
        if name not in signature.outputs:
            there = ",".join(sorted(signature.outputs))
            raise errors.InvalidArgument(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set {{{there}}}."
            )
        if name in wanted[:number]:
            raise errors.InvalidArgument(f"duplicate output tensor alias: {name}")


def _outputs(answer: Any, signature: Signature) -> dict[str, Array]:
    """By name; TensorFlow Serving names an output only if there are several. Raises ValueError, LookupError."""
    specs = signature.outputs
    found = answer["outputs"]
    if len(specs) == 1:
        found = {next(iter(specs)): found}
    if not isinstance(found, dict) or set(found) != set(specs):
        raise ValueError(f"expected the outputs {', '.join(specs)}")
    return {name: values.read(found[name], spec) for name, spec in specs.items()}


def _outputs_or_internal(answer: Any, signature: Signature) -> dict[str, Array]:
    try:
        return _outputs(answer, signature)
    except (ValueError, LookupError) as error:
        raise errors.Internal(f"The answer is not what the model's metadata tells of it: {error}.") from error


def _json(response: Response) -> Any:
    """What a good response holds. Raises ServingError for others."""
    try:
        content = values.load(response.body)
    except ValueError:
        content = None
    if response.status != 200:
        text = content.get("error") if isinstance(content, dict) else None
        raise errors.from_code(
            _CODES.get(response.status, _Code.UNKNOWN),
            str(text) if text else f"HTTP {response.status}: {response.body[:200].decode(errors='replace')}",
        )
    if not isinstance(content, dict):
        raise _unexpected(response.body)
    return content


def _unexpected(content: object) -> errors.Internal:
    return errors.Internal(f"The answer is not TensorFlow Serving's: {str(content)[:200]}. Is this its REST port?")
