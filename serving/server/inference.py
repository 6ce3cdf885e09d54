"""PredictionService: protobuf in, manager and servable in the middle, protobuf out. Knows no transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import errors
from serving.server import examples
from serving.server.calls import Call, Reply, Unary, as_serving_error
from serving.server.manager import Lent, Manager
from serving.server.servable import DEFAULT_SIGNATURE, Outputs, require_names, require_predict_method
from serving.wire import messages_pb2 as pb
from serving.wire import to_array
from serving.wire.responses import predict_response

SERVICE = "/tensorflow.serving.PredictionService/"

AnyMessage = TypeVar("AnyMessage", bound=Message)


class PredictionService:
    """`tensorflow.serving.PredictionService`.

    count_examples: told of each MultiInference request: its model, and how many examples it held.
    check_method_names: a signature's method_name must fit the call (--enable_signature_method_name_check).
    tensor_content: outputs are written as raw bytes (--enable_serialization_as_tensor_content).
    """

    def __init__(
        self,
        manager: Manager,
        count_examples: Callable[[str, int], None],
        *,
        check_method_names: bool = False,
        tensor_content: bool = False,
    ) -> None:
        self._manager = manager
        self._count_examples = count_examples
        self._check_method_names = check_method_names
        self._typed = not tensor_content

    def methods(self) -> list[Unary]:
        """All of the service's methods."""
        return [
            Unary(SERVICE + "Predict", self.predict),
            Unary(SERVICE + "Classify", self.classify),
            Unary(SERVICE + "Regress", self.regress),
            Unary(SERVICE + "MultiInference", self.multi_inference),
            Unary(SERVICE + "GetModelMetadata", self.get_model_metadata),
        ]

    def predict(self, data: bytes, call: Call, reply: Reply) -> None:
        """Runs one signature on the request's tensors."""
        request = parse(predict_pb2.PredictRequest, data)
        with _Loan(self._manager, request, call, reply) as loan:
            servable = loan.lent.servable
            signature = servable.signature(call.signature)  # an unknown signature is told before a broken tensor
            if self._check_method_names:
                require_predict_method(signature)
            inputs = _arrays(request.inputs, signature)

            def response(outputs: Outputs) -> bytes:
                lent = loan.lent
                return predict_response(outputs, lent.name, lent.version, call.signature, typed=self._typed)

            servable.submit(inputs, call.signature, request.output_filter, call, loan.answering(response))

    def classify(self, data: bytes, call: Call, reply: Reply) -> None:
        """Runs a signature on the request's tf.Examples; the answer is labels and scores."""
        self._ask("Classify", classification_pb2.ClassificationResponse, data, call, reply)

    def regress(self, data: bytes, call: Call, reply: Reply) -> None:
        """Runs a signature on the request's tf.Examples; the answer is a number each."""
        self._ask("Regress", regression_pb2.RegressionResponse, data, call, reply)

    def _ask(self, api: str, response_type: Any, data: bytes, call: Call, reply: Reply) -> None:
        request = parse(pb.ExamplesRequest, data)
        with _Loan(self._manager, request, call, reply) as loan:
            servable = loan.lent.servable
            check = self._check_method_names
            task = examples.task(servable, call.signature, examples.KINDS[api], check_method_name=check)

            def response(results: list[Message]) -> bytes:
                message = response_type(result=results[0])
                set_spec(message.model_spec, loan.lent, call.signature)
                return bytes(message.SerializeToString())

            examples.run(servable, [task], examples.serialized(request.input), call, loan.answering(response))

    def multi_inference(self, data: bytes, call: Call, reply: Reply) -> None:
        """Runs several signatures of one model on the same tf.Examples, in one run."""
        request = parse(pb.MultiInferenceRequest, data)
        first = request.tasks[0] if request.tasks else pb.InferenceTask(model_spec=pb.ModelSpec())
        with _Loan(self._manager, first, call, reply) as loan:
            servable = loan.lent.servable
            tasks = examples.tasks(servable, request.tasks, check_method_name=self._check_method_names)
            serialized = examples.serialized(request.input)
            self._count_examples(servable.name, len(serialized))

            def response(results: list[Message]) -> bytes:
                message = inference_pb2.MultiInferenceResponse()
                for task, result in zip(tasks, results, strict=True):
                    entry = message.results.add()
                    set_spec(entry.model_spec, loan.lent, task.signature_name)
                    getattr(entry, task.kind.result_field).CopyFrom(result)
                return bytes(message.SerializeToString())

            examples.run(servable, tasks, serialized, call, loan.answering(response))

    def get_model_metadata(self, data: bytes, call: Call, reply: Reply) -> None:
        """Tells all signatures of a model."""
        request = parse(get_model_metadata_pb2.GetModelMetadataRequest, data)
        if not request.HasField("model_spec"):
            raise errors.InvalidArgument("Missing ModelSpec")
        if not request.metadata_field:
            raise errors.InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise errors.InvalidArgument(f"Metadata field {field} is not supported")
        with _Loan(self._manager, request, call, reply) as loan:
            message = get_model_metadata_pb2.GetModelMetadataResponse()
            set_spec(message.model_spec, loan.lent, "")
            signatures = loan.lent.servable.signatures
            message.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=signatures))
            loan.answering(lambda _: bytes(message.SerializeToString()))(None)


class _Loan:
    """The servable that a request's ModelSpec names; it goes back with the answer, or if the `with` block raises."""

    __slots__ = ("_reply", "lent")

    def __init__(self, manager: Manager, request: Any, call: Call, reply: Reply) -> None:
        """Notes in `call` who answers. Raises InvalidArgument, NotFound."""
        if not request.HasField("model_spec"):
            raise errors.InvalidArgument("Missing ModelSpec")
        spec = request.model_spec
        call.model, call.signature = spec.name, spec.signature_name or DEFAULT_SIGNATURE
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            self.lent = manager.borrow(spec.name)
        elif choice == "version":
            self.lent = manager.borrow(spec.name, version=spec.version.value)
        else:
            self.lent = manager.borrow(spec.name, label=spec.version_label)
        call.version = self.lent.version
        self._reply = reply

    def __enter__(self) -> _Loan:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.lent.release()

    def answering(self, response: Callable[[Any], bytes]) -> Callable[[Any], None]:
        """A `Done` that answers with what `response` makes of the outputs, or with the error."""

        def done(result: Any) -> None:
            if not isinstance(result, errors.ServingError):
                try:
                    result = response(result)
                except Exception as error:
                    result = as_serving_error(error, "Writing an answer")
            self.lent.release()
            self._reply(result)

        return done


def parse(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """The message in `data`. Raises Internal, which is gRPC's status for bytes that are none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise errors.Internal(f"Error parsing {kind.DESCRIPTOR.name}: {error}") from error


def named(task: inference_pb2.InferenceTask, model: str) -> pb.InferenceTask:
    """A task as one of ours, for another model: recorded requests are replayed whatever model they name."""
    spec = pb.ModelSpec(name=model, signature_name=task.model_spec.signature_name)
    return pb.InferenceTask(model_spec=spec, method_name=task.method_name)


def set_spec(spec: model_pb2.ModelSpec, lent: Lent, signature_name: str) -> None:
    """Writes who answered."""
    spec.name = lent.name
    spec.version.value = lent.version
    spec.signature_name = signature_name


def _arrays(tensors: Mapping[str, Any], signature: Any) -> dict[str, Any]:
    """Raises InvalidArgument for what is no tensor; wrong names are told before that."""
    arrays = {}
    try:
        for name, tensor in tensors.items():
            arrays[name] = to_array(tensor)
    except errors.InvalidArgument as error:
        require_names(tensors, signature)
        raise errors.InvalidArgument(f"tensor parsing error: {name}. {error.message}") from error
    return arrays
