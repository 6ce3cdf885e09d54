"""The port: addresses, TLS, and an end that loses nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import ssl
import subprocess
import threading
from concurrent import futures

import httpx
import pytest
from support import until

from serving import errors
from serving.server.rest import RestServer, tls_context
from serving.server.transports import Tls

ONE = {"instances": [1]}


def nothing(*arguments):
    raise AssertionError("not asked")


def test_several_addresses(ask):
    server = RestServer(ask.manager, [("127.0.0.1", 0), ("::1", 0)], classify=nothing, regress=nothing)
    server.start()
    try:
        for host, port in zip(("127.0.0.1", "[::1]"), server.ports, strict=True):
            assert httpx.post(f"http://{host}:{port}/v1/models/model:predict", json=ONE).status_code == 200
    finally:
        server.stop(5)


def test_all_interfaces_are_those_of_ipv4_too(ask):
    server = RestServer(ask.manager, [("::", 0)], classify=nothing, regress=nothing)
    server.start()
    try:
        assert httpx.get(f"http://127.0.0.1:{server.port}/v1/health/live").status_code == 200
    finally:
        server.stop(5)


def test_a_taken_port(ask):
    with pytest.raises(errors.Unavailable, match=f"Cannot listen on 127.0.0.1:{ask.port} for REST: .+"):
        RestServer(ask.manager, [("127.0.0.1", 0), ("127.0.0.1", ask.port)], classify=nothing, regress=nothing)


def test_what_is_under_way_is_finished_on_stop(serve):
    with serve() as ask:
        ask.manager.servable.open.clear()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ask.predict(ONE).json()))
        before = len(ask.manager.servable.calls)
        thread.start()
        while len(ask.manager.servable.calls) == before:
            thread.join(0.01)
        stopping = threading.Thread(target=ask.server.stop, args=(20,))
        stopping.start()
        stopping.join(0.2)
        ask.manager.servable.open.set()
        stopping.join()
        thread.join()
    assert answers == [{"predictions": [1]}]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", ask.port), 5)


def answers_until_told_to_stop(connection, request):
    """How many requests got an answer on a connection; each that is sent must get one."""
    for count in itertools.count(1):
        connection.sendall(request)
        answer = b""
        while b"]\n}" not in answer:
            part = connection.recv(65536)
            assert part, f"request {count} got no answer"
            answer += part
        if b"connection: close" in answer:
            return count
    return 0


def test_stopping_loses_no_request(serve):
    body = json.dumps(ONE).encode()
    request = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serve() as ask, futures.ThreadPoolExecutor(3) as pool:
        connections = [socket.create_connection(("127.0.0.1", ask.port), 60) for _ in range(3)]
        before = len(ask.manager.servable.calls)
        counts = [pool.submit(answers_until_told_to_stop, connection, request) for connection in connections]
        until(lambda: len(ask.manager.servable.calls) > before + 20)
        ask.server.stop(20)
        assert all(count.result() for count in counts)
        for connection in connections:
            connection.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A key, and a certificate for "localhost" that it signs itself, as PEM."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl to make keys")
    folder = tmp_path_factory.mktemp("keys")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    new = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*new, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key.read_bytes(), certificate.read_bytes()


def asked(ask, keys, *, shows_certificate, folder):
    context = ssl.create_default_context(cadata=keys[1].decode())
    if shows_certificate:
        (folder / "both.pem").write_bytes(b"".join(keys))
        context.load_cert_chain(folder / "both.pem")
    url = f"https://127.0.0.1:{ask.port}/v1/models/model:predict"
    with httpx.Client(verify=context, timeout=20) as client:
        return client.post(url, json=ONE).json()


def test_tls(serve, keys, tmp_path):
    with serve(tls=tls_context(Tls(*keys))) as ask:
        assert asked(ask, keys, shows_certificate=False, folder=tmp_path) == {"predictions": [1]}


def test_mutual_tls(serve, keys, tmp_path):
    with serve(tls=tls_context(Tls(*keys, custom_ca=keys[1], client_verify=True))) as ask:
        assert asked(ask, keys, shows_certificate=True, folder=tmp_path) == {"predictions": [1]}
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
            asked(ask, keys, shows_certificate=False, folder=tmp_path)


@pytest.mark.parametrize("broken", [Tls(b"", b""), Tls(b"x", b"y")])
def test_keys_that_are_none(broken):
    with pytest.raises(errors.InvalidArgument, match="The keys for REST cannot be used: "):
        tls_context(broken)
