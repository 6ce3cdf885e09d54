"""What the client adds to a picture of 224x224x3 float32 (602 KB): encoding against a memcpy, throughput against a naive one.

python -m benchmarks.client_encode [--rounds 15]

The naive client does what TensorFlow Serving's own examples do: tf.make_tensor_proto into the official message, the official
stub, tf.make_ndarray. Both ask one server in turns, one request at a time; its models do next to nothing, and answer with three
numbers or with the picture itself, as TensorFlow Serving does (`float_val`). Told are medians, of ratios those within a round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import report
from serving import wire
from serving.client import PredictClient
from serving.server import process
from serving.wire import messages_pb2 as pb
from serving.wire.responses import predict_response

PICTURE = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
MODELS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "three numbers": lambda images: tf.reduce_mean(images, axis=(1, 2)),
    "the picture": tf.identity,
}
# Seconds that one way is repeated in a round.
ENCODING, ASKING = 0.05, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rows = [*encoding(rounds), *asking(rounds)]
    print(report.write("client_encode", "What the client adds to a picture of 602 KB", rows))


def encoding(rounds: int) -> list[dict[str, object]]:
    """A request encoded and an answer with the same picture decoded."""
    copy, rows = np.empty_like(PICTURE), []
    for field, typed in (("tensor_content", False), ("float_val", True)):
        answer = predict_response({"y": PICTURE}, "m", 1, "serving_default", typed=typed)
        np.testing.assert_array_equal(encode_and_decode(answer), PICTURE)
        ways = {
            "memcpy": lambda: np.copyto(copy, PICTURE),
            "memcpy to new memory": PICTURE.tobytes,
            "ours": lambda answer=answer: encode_and_decode(answer),
            "naive": lambda answer=answer: naively(answer),
        }
        rows.append(row(f"encode, and decode {field}", in_turns(ways, rounds, ENCODING, time.process_time)))
    return rows


def encode_and_decode(answer: bytes) -> np.ndarray:
    wire.predict_request(pb.ModelSpec(name="m"), {"x": PICTURE})
    return wire.read_predict_response(answer)[0]["y"]


def naively(answer: bytes) -> np.ndarray:
    naive_request("m").SerializeToString()
    return tf.make_ndarray(predict_pb2.PredictResponse.FromString(answer).outputs["y"])


def naive_request(model: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(PICTURE))
    return request


def asking(rounds: int) -> list[dict[str, object]]:
    """Requests per second of one caller."""
    rows = []
    with running() as server, grpc.insecure_channel(server, wire.CHANNEL_OPTIONS) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for number, what in enumerate(MODELS):
            name = f"model{number}"
            with PredictClient(server, name) as client:
                ways = {
                    "ours": lambda client=client: client.predict(PICTURE)["y"],
                    "naive": lambda name=name: tf.make_ndarray(stub.Predict(naive_request(name), 60).outputs["y"]),
                }
                np.testing.assert_array_equal(*(way() for way in ways.values()))
                rows.append(row(f"ask for {what}", in_turns(ways, rounds, ASKING, time.perf_counter)))
                rows.append(row(f"ask for {what}, client's CPU", in_turns(ways, rounds, ASKING, time.process_time)))
    return rows


@contextmanager
def running() -> Iterator[str]:
    """The address of a server with the models."""
    with tempfile.TemporaryDirectory() as folder:
        for number, function in enumerate(MODELS.values()):
            write(Path(folder, f"model{number}", "1"), function)
        with process.running([folder]) as server:
            yield server.grpc_address


def write(folder: Path, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
    """A SavedModel from images to y."""
    spec = tf.TensorSpec((None, *PICTURE.shape[1:]), tf.float32, "images")
    module = tf.Module()
    module.serve = tf.function(lambda images: {"y": function(images)}, [spec])
    tf.saved_model.save(module, str(folder), module.serve)


def in_turns(
    ways: dict[str, Callable[[], object]], rounds: int, seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Microseconds by `clock` that each way takes, in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way()
            begin, end, count = clock(), time.perf_counter() + seconds, 0
            while time.perf_counter() < end or not count:
                way()
                count += 1
            times[name].append((clock() - begin) / count * 1e6)
    return times


def row(what: str, times: dict[str, list[float]]) -> dict[str, object]:
    told: dict[str, object] = {"what": what}
    for name in ("memcpy", "memcpy to new memory", "ours", "naive"):
        told[f"{name}, us"] = f"{statistics.median(times[name]):.0f}" if name in times else ""
    for slow, fast in (("ours", "memcpy"), ("ours", "memcpy to new memory"), ("naive", "ours")):
        ratios = map(float.__truediv__, times[slow], times.get(fast, []))
        told[f"{slow} / {fast}"] = f"{statistics.median(ratios):.2f}" if fast in times else ""
    return told


if __name__ == "__main__":
    main()
