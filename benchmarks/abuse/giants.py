"""Requests that are too large, too deep, or unpack to too much."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import grpc
from tensorflow_serving.apis import predict_pb2

from benchmarks.abuse.grpc_requests import PREDICTION
from benchmarks.abuse.http_requests import exchange
from benchmarks.abuse.victim import ALLOWED_GRPC, ALLOWED_HTTP, Finding, Victim

MAX_DEPTH = 500_000
GIB = 2**30
PATIENCE = 120.0
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def deep_json(victim: Victim) -> Iterator[Finding]:
    """500,000 levels of lists and of objects (or 50 for each of `victim.requests`), closed and not."""
    key, depth = b'{"a":', min(MAX_DEPTH, victim.requests * 50)
    for name, body in {
        "instances": b'{"instances":' + b"[" * depth + b"]" * depth + b"}",
        "inputs": b'{"inputs":' + b"[" * depth + b"1" + b"]" * depth + b"}",
        "objects": b'{"instances":[' + key * depth + b"1" + b"}" * depth + b"]}",
        "an unknown key": b'{"x":' + b"[" * depth + b"]" * depth + b',"instances":[1]}',
        "unclosed": b'{"instances":' + b"[" * depth,
        "the signature's name": b'{"signature_name":' + b"[" * depth + b"]" * depth + b',"instances":[1]}',
        "examples": b'{"examples":' + b"[" * depth + b"]" * depth + b"}",
    }.items():
        verb = "classify" if name == "examples" else "predict"
        yield from _post(victim, f"deep JSON in {name}", _head(victim, len(body), verb), body)


def large_rest(victim: Victim) -> Iterator[Finding]:
    """1 GB of JSON (or 1 KiB for each of `victim.requests`): of numbers, of one string, and unpacked from 1 MB of gzip."""
    size = min(GIB, victim.requests * 2**10)
    for name, begin, middle, end in (
        ("numbers", b'{"instances":[', b"1," * 2**19, b"1]}"),
        ("a string", b'{"instances":["', b"a" * 2**20, b'"]}'),
        ("blanks", b"", b" " * 2**20, b"{}"),
    ):
        pieces = [begin, *[middle] * (size // len(middle)), end]
        yield from _post(victim, f"REST, {size // 2**20} MiB of {name}", _head(victim, sum(map(len, pieces))), *pieces)
    packed = gzip.compress(b'{"instances":["' + b"a" * size + b'"]}', 1)
    yield from _post(
        victim, f"gzip of {size // 2**20} MiB", _head(victim, len(packed), more="Content-Encoding: gzip\r\n"), packed
    )


def large_grpc(victim: Victim) -> Iterator[Finding]:
    """A tensor of 1 GB (or 1 KiB for each of `victim.requests`) that fits no shape; and small ones that announce it.

    Those that announce what the server may take: a vector of 1 GiB, and a batch of a million pictures that fits (or 64 KiB
    and 64 pictures for each of `victim.requests`).
    """
    size = min(GIB, victim.requests * 2**10)
    vector, batch = min(2**28, victim.requests * 2**14), min(2**20, victim.requests * 2**6)
    request = _tensor(victim, [7])
    request.inputs["images"].tensor_content = bytes(size)
    yield from _call(victim, f"gRPC, {size // 2**20} MiB that fit no shape", request)
    for sizes in ([vector], [2**33], [2**31, 2**31], [2**62], [batch, 28, 28, 1], [2**40, 0]):
        request = _tensor(victim, sizes)
        request.inputs["images"].float_val.append(1.0)
        yield from _call(victim, f"gRPC, one value for the shape {sizes}", request)


def announced(victim: Victim) -> Iterator[Finding]:
    """Requests that announce more bytes than they send."""
    for length in (10, 2**31, 2**40, 2**64, -1):
        yield from _post(victim, f"Content-Length {length} of 5 bytes", _head(victim, length), b"12345", complete=False)


def _tensor(victim: Victim, sizes: list[int]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = victim.model
    tensor = request.inputs["images"]
    tensor.dtype = 1
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return request


def _call(victim: Victim, attack: str, request: predict_pb2.PredictRequest) -> Iterator[Finding]:
    with grpc.insecure_channel(victim.server.grpc_address, OPTIONS) as channel:
        try:
            channel.unary_unary(PREDICTION + "Predict")(request.SerializeToString(), timeout=PATIENCE)
            status = grpc.StatusCode.OK
        except grpc.RpcError as error:
            status = error.code()
            if status not in ALLOWED_GRPC - {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}:
                yield Finding(attack, f"{status.name}: {str(error.details())[:200]}")
    victim.statuses[f"gRPC {status.name}"] += 1


def _head(victim: Victim, length: int, verb: str = "predict", more: str = "") -> bytes:
    path = f"/v1/models/{victim.model}:{verb}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n".encode()


def _post(victim: Victim, attack: str, *pieces: bytes, complete: bool = True) -> Iterator[Finding]:
    try:
        answer = exchange(victim.host_and_port, pieces, PATIENCE, patience=PATIENCE / 2 if complete else 0.5)
    except TimeoutError:
        yield Finding(attack, f"no answer within {PATIENCE:g} s")
        return
    except OSError:
        return  # it hung up: allowed with this
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0
    victim.statuses[f"HTTP {status or 'closed'}"] += 1
    if status and status not in ALLOWED_HTTP:
        yield Finding(attack, f"answered {status}: {answer[-200:]!r}")
