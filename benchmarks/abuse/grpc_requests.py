"""Random and damaged protobufs to every gRPC method, and tensors that are wrong in some way."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import grpc
import numpy as np
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from benchmarks.abuse.mutations import change_field, minimise, mutate
from benchmarks.abuse.victim import ALLOWED_GRPC, Finding, Victim
from benchmarks.abuse.wrong_tensors import wrong_tensor

PREDICTION, MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
TYPES = {
    PREDICTION + "Predict": predict_pb2.PredictRequest,
    PREDICTION + "Classify": classification_pb2.ClassificationRequest,
    PREDICTION + "Regress": regression_pb2.RegressionRequest,
    PREDICTION + "MultiInference": inference_pb2.MultiInferenceRequest,
    PREDICTION + "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    MODEL + "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    MODEL + "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}
PATIENCE = 30.0
WINDOW = 16


def attack(victim: Victim) -> Iterator[Finding]:
    """`victim.requests` calls, `WINDOW` at a time."""
    draw = random.Random(victim.requests)
    seeds = _seeds(victim)
    seen: set[str] = set()
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(victim.server.grpc_address, options) as channel:
        left = victim.requests
        while left > 0:
            batch = [_draw(victim, seeds, draw) for _ in range(min(WINDOW, left))]
            left -= len(batch)
            calls = [(path, request, _call(channel, path, request)) for path, request in batch]
            for path, request, call in calls:
                yield from _judge(victim, channel, path, request, call, seen)
            if not victim.is_alive():
                last = "; ".join(f"{path} {request[:100]!r}" for path, request in batch)
                yield Finding("gRPC", f"the server ended with {victim.server.process.returncode}", last)
                return


def _call(channel: grpc.Channel, path: str, request: bytes) -> grpc.Future:
    return channel.unary_unary(path).future(request, timeout=PATIENCE)


def _judge(
    victim: Victim, channel: grpc.Channel, path: str, request: bytes, call: grpc.Future, seen: set[str]
) -> Iterator[Finding]:
    code, details = call.code(), call.details() or ""
    victim.statuses[f"gRPC {code.name}"] += 1
    what = f"{path.rpartition('/')[2]} answered {code.name}"
    kind = what + re.sub(r"\d+|'.*|\".*", "", details)[:60]
    if _is_allowed(path, request, code, details) or kind in seen:
        return
    seen.add(kind)

    def still(shorter: bytes) -> bool:
        again = _call(channel, path, shorter)
        return bool(again.code() == code and not _is_allowed(path, shorter, again.code(), again.details() or ""))

    small = request if code == grpc.StatusCode.DEADLINE_EXCEEDED else minimise(request, still)
    yield Finding("gRPC", f"{what}: {details[:200]}", _shown(path, small))


def _is_allowed(path: str, request: bytes, code: grpc.StatusCode, details: str) -> bool:
    if code == grpc.StatusCode.INTERNAL:
        return details.startswith("Error parsing serialized input") or not _parses(path, request)
    return code in ALLOWED_GRPC - {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}


def _parses(path: str, request: bytes) -> bool:
    """What is no message at all gets gRPC's own INTERNAL."""
    try:
        TYPES[path].FromString(request)
    except Exception:  # DecodeError, but also text that is not UTF-8
        return False
    return True


def _shown(path: str, request: bytes) -> str:
    text = str(TYPES[path].FromString(request)).replace("\n", " ") if _parses(path, request) else ""
    return f"{request[:300]!r} {text[:400]}"


def _draw(victim: Victim, seeds: dict[str, list[bytes]], draw: random.Random) -> tuple[str, bytes]:
    """A method and a request to it."""
    if draw.random() < 0.3:
        return PREDICTION + "Predict", _wrong_predict(victim, draw)
    path = draw.choice(list(TYPES))
    request = draw.choice(seeds[path])
    message = TYPES[path].FromString(request)
    request = _with_changed_fields(message, draw) if draw.random() < 0.6 else mutate(request, draw)
    # A right configuration would be obeyed, and the good client's model be gone.
    is_order = path.endswith("ReloadConfigRequest") and _parses(path, request)
    if is_order and TYPES[path].FromString(request).config.HasField("model_config_list"):
        return path, b""
    return path, request


def _with_changed_fields(message: Message, draw: random.Random) -> bytes:
    for _ in range(draw.randint(1, 3)):
        change_field(message, draw)
    return bytes(message.SerializeToString())


def _wrong_predict(victim: Victim, draw: random.Random) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = victim.model
    signature = draw.choice(("", "", "kinds", "bytes", "classify", "none"))
    request.model_spec.signature_name = signature
    names = {"kinds": ("whole", "text", "yes"), "bytes": ("image_bytes",), "classify": ("inputs",)}
    for name in names.get(signature, ("images",)):
        if draw.random() < 0.95:
            request.inputs[name].MergeFrom(wrong_tensor(draw))
    if draw.random() < 0.1:
        request.output_filter.append(draw.choice(("", "probabilities", "none")))
    return bytes(request.SerializeToString())


def _seeds(victim: Victim) -> dict[str, list[bytes]]:
    """Right requests to each method, to be damaged."""
    import tensorflow as tf

    predict = predict_pb2.PredictRequest()
    predict.inputs["images"].CopyFrom(tf.make_tensor_proto(victim.pictures))
    kinds = predict_pb2.PredictRequest()
    kinds.model_spec.signature_name = "kinds"
    for name, value in (("whole", [1, 2]), ("text", ["a", "bc"]), ("yes", [[True, False]] * 2)):
        kinds.inputs[name].CopyFrom(tf.make_tensor_proto(value, tf.int64 if name == "whole" else None))
    classify = classification_pb2.ClassificationRequest()
    regress = regression_pb2.RegressionRequest()
    for request, signature in ((classify, "classify"), (regress, "regress")):
        request.model_spec.signature_name = signature
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend(np.float32([1, 2]))
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    for signature in ("classify", "regress"):
        task = multi.tasks.add(method_name=f"tensorflow/serving/{signature}")
        task.model_spec.name, task.model_spec.signature_name = victim.model, signature
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = get_model_status_pb2.GetModelStatusRequest()
    for request in (predict, kinds, classify, regress, metadata, status):
        request.model_spec.name = victim.model
    reload = model_management_pb2.ReloadConfigRequest(metric_names=["a", "b"])
    right = ([predict, kinds], [classify], [regress], [multi], [metadata], [status], [reload])
    return {
        path: [request.SerializeToString() for request in requests] for path, requests in zip(TYPES, right, strict=True)
    }
