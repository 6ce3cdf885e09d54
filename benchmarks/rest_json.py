"""What JSON costs the REST interface: ours against the obvious ways, in one run; CPU time of this process.

python -m benchmarks.rest_json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import orjson
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from benchmarks import report
from serving.server.rest import json_in, json_out, tensors_in

ROUNDS = 15
FLOAT = {"x": meta_graph_pb2.TensorInfo(dtype=types_pb2.DT_FLOAT)}
# Values that make bodies of about 3 KB and 602 KB.
BODIES = {
    "parse 3 KB of pixels": (28, 28, 1, "pixel"),
    "parse 602 KB of pixels": (224, 224, 3, "pixel"),
    "parse 602 KB of fractions": (160, 160, 3, "fraction"),
    "parse 602 KB of float32 in full": (120, 160, 3, "float"),
}


def body(height: int, width: int, channels: int, kind: str) -> bytes:
    """A predict request of one picture."""
    random = np.random.default_rng(0)
    values = random.random((1, height, width, channels))
    picture = {"pixel": (values * 256).astype(int), "fraction": values.round(5), "float": values.astype(np.float32)}
    return json.dumps({"instances": picture[kind].tolist()}, separators=(",", ":")).encode()


def ours(text: bytes) -> np.ndarray:
    """Checks types and shapes of all values, as TensorFlow Serving does."""
    return tensors_in.arrays(json_in.Document(text), FLOAT)[0]["x"]


def with_json(text: bytes) -> np.ndarray:
    return np.array(json.loads(text)["instances"], np.float32)


def with_orjson(text: bytes) -> np.ndarray:
    return np.array(orjson.loads(text)["instances"], np.float32)


def seconds(function: Callable[[], object]) -> float:
    """The least CPU time of some rounds, each long enough to be measured."""
    begin = time.process_time()
    function()
    repeats = max(1, round(0.01 / max(time.process_time() - begin, 1e-6)))
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(repeats):
            function()
        times.append((time.process_time() - begin) / repeats)
    return min(times)


def row(what: str, size: int, functions: dict[str, Callable[[], object]]) -> dict[str, object]:
    times = {name: seconds(function) for name, function in functions.items()}
    ratios = {f"{name} / ours": f"{value / times['ours']:.1f}" for name, value in times.items() if name != "ours"}
    return {"what": what, "bytes": size, "ours, us": f"{times['ours'] * 1e6:.0f}", **ratios}


def main() -> None:
    rows = []
    for what, picture in BODIES.items():
        text = body(*picture)
        np.testing.assert_array_equal(ours(text), with_json(text))
        ways = {"ours": ours, "json + numpy": with_json, "orjson + numpy": with_orjson}
        rows.append(row(what, len(text), {name: lambda way=way, text=text: way(text) for name, way in ways.items()}))
    values = np.random.default_rng(1).random((1, 1000), dtype=np.float32)
    answer = json_out.predictions({"y": values})
    writers = {
        "ours": lambda: json_out.predictions({"y": values}),
        "json + numpy": lambda: json.dumps({"predictions": values.tolist()}, indent=4),
        "orjson + numpy": lambda: orjson.dumps({"predictions": values}, option=orjson.OPT_SERIALIZE_NUMPY),
    }
    rows.append(row("write 1000 floats", len(answer), writers))
    print(report.write("rest_json", "JSON of the REST interface", rows))


if __name__ == "__main__":
    main()
