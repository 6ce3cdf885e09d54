"""Random bytes, damaged requests and damaged JSON to the REST port."""

from __future__ import annotations

import contextlib
import json
import random
import re
import select
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.abuse.mutations import change_json, minimise, mutate
from benchmarks.abuse.victim import ALLOWED_HTTP, Finding, Victim

PATIENCE = 20.0
THREADS = 8
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def attack(victim: Victim) -> Iterator[Finding]:
    """`victim.requests` connections with a damaged request each, from several threads."""
    findings: list[Finding] = []
    threads = [threading.Thread(target=_from_one_thread, args=(victim, n, findings)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = set()
    for finding in findings:
        kind = re.sub(r"\d{4,}|'.*|\".*", "", finding.what)
        if kind not in shown:
            shown.add(kind)
            yield finding


def _from_one_thread(victim: Victim, number: int, findings: list[Finding]) -> None:
    draw = random.Random(f"{victim.requests} {number}")
    seeds = _seeds(victim)
    for _ in range(victim.requests // THREADS):
        request = _wrong_json(victim, draw) if draw.random() < 0.5 else mutate(draw.choice(seeds), draw)
        problem = judge(victim, request)
        if problem is None:
            continue
        if not victim.is_alive():
            findings.append(Finding("HTTP", "the server ended", repr(request[:500])))
            return
        if len(findings) < 50:
            small = request if problem.startswith("nothing") else _smallest(victim, request, problem[:24])
            findings.append(Finding("HTTP", problem, repr(small[:500])))


def _smallest(victim: Victim, request: bytes, kind: str) -> bytes:
    """Leaves out of the body what it can; out of all of it, where that is no JSON or its length does not hold."""
    head, _, body = request.partition(b"\r\n\r\n")
    path = head.split(b" ", 2)[1].decode("latin-1") if head.count(b" ") > 1 else ""

    def still(shorter: bytes) -> bool:
        return (judge(victim, shorter) or "").startswith(kind)

    if still(_framed(path, body)):
        return _framed(path, minimise(body, lambda shorter: still(_framed(path, shorter)), 300))
    return minimise(request, still, 80)


def judge(victim: Victim, request: bytes) -> str | None:
    """Sends the request and no more; what is wrong with the answer, if anything is."""
    try:
        answer = exchange(victim.host_and_port, [request], PATIENCE)
    except TimeoutError:
        return "nothing came, and the connection was left open"
    except OSError:
        return None  # refused or reset: allowed with garbage
    found = _STATUS.match(answer)
    victim.statuses[f"HTTP {found[1].decode()}" if found else "HTTP closed"] += 1
    if found and int(found[1]) not in ALLOWED_HTTP:
        return f"answered {int(found[1])}: {answer.partition(bytes(1))[0][-300:]!r}"
    if answer and not found:
        return f"is no HTTP: {answer[:100]!r}"
    return None


def exchange(address: tuple[str, int], pieces: Iterable[bytes], timeout: float, patience: float = 0.2) -> bytes:
    """What the server says until it closes the connection. After `patience` seconds of silence the request's end is told.

    Not at once: a server may take the end for the client's farewell, and not answer. But in any case once it answers, or it
    would keep the connection for a next request.
    """
    answer = b""
    with socket.create_connection(address, timeout) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
            select.select([connection], [], [], patience)
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answer += piece
    return answer


def _wrong_json(victim: Victim, draw: random.Random) -> bytes:
    verb, body = draw.choice(_bodies(victim))
    place = draw.choice(("", "", "/versions/1", "/labels/x"))
    return _post(f"/v1/models/{victim.model}{place}:{verb}", change_json(body, draw))


def _bodies(victim: Victim) -> list[tuple[str, dict[str, Any]]]:
    """Right bodies, by verb."""
    numbers = victim.pictures.round(1).tolist()
    example = {"x": [1.0, 2.0]}
    return [
        ("predict", {"instances": numbers}),
        ("predict", {"inputs": {"images": numbers}, "signature_name": "serving_default"}),
        ("predict", {"instances": [{"whole": 1, "text": "a", "yes": [True, False]}] * 2, "signature_name": "kinds"}),
        ("predict", {"inputs": {"whole": [1], "text": ["a"], "yes": [[True, False]]}, "signature_name": "kinds"}),
        ("predict", {"instances": [{"b64": "iVBORw0KGgo="}], "signature_name": "bytes"}),
        ("classify", {"examples": [example] * 2, "context": {"y": 1}, "signature_name": "classify"}),
        ("regress", {"examples": [example], "signature_name": "regress"}),
    ]


def _seeds(victim: Victim) -> Sequence[bytes]:
    name = victim.model
    requests = [_post(f"/v1/models/{name}:{verb}", body) for verb, body in _bodies(victim)]
    requests += [_post(f"/v1/models/{name}/versions/1:predict", {}), _post("/v1/models/none:predict", {})]
    paths = ("", "/versions/1", "/labels/x", "/metadata", "/versions/1/metadata", "/versions/99999999999999999999")
    requests += [
        f"GET /v1/models/{name}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode() for path in paths
    ]
    requests += [
        b"OPTIONS /v1/models HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n",
        b"GET /monitoring/prometheus/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b'POST /v1/models/x:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"ins\r\n0\r\n\r\n',
        b"POST /v1/models/x:predict HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    ]
    return requests


def _post(path: str, body: object) -> bytes:
    return _framed(path, json.dumps(body).encode())


def _framed(path: str, content: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode("latin-1") + content
