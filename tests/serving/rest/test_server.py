"""The port: addresses, TLS, and an end that loses nothing."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import ssl
import threading
from concurrent import futures

import httpx
import pytest
from certificates import self_signed
from support import until

from serving import errors
from serving.server.rest import RestServer
from serving.server.security import tls
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


BODY = json.dumps(ONE).encode()
REQUEST = b"POST /v1/models/model:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def test_stopping_answers_those_whom_it_has_not_accepted_yet(serve):
    """The system has: it queues them, and resets them when the port is closed."""
    with serve() as ask:
        ask.predict(ONE)
        busy = threading.Event()
        ask.server._server.servers[0].get_loop().call_soon_threadsafe(busy.wait, 20)
        connections = [socket.create_connection(("127.0.0.1", ask.port), 20) for _ in range(5)]
        for connection in connections:
            connection.sendall(REQUEST)
        stopping = threading.Thread(target=ask.server.stop, args=(20,))
        stopping.start()
        stopping.join(0.3)  # until the loop has a reason to look whether it should stop
        busy.set()
        stopping.join()
        for connection in connections:
            with connection, connection.makefile("rb") as answer:
                assert answer.read().endswith(b"[1.0\n    ]\n}")


def test_stopping_loses_no_request(serve):
    with serve() as ask, futures.ThreadPoolExecutor(3) as pool:
        connections = [socket.create_connection(("127.0.0.1", ask.port), 60) for _ in range(3)]
        before = len(ask.manager.servable.calls)
        counts = [pool.submit(answers_until_told_to_stop, connection, REQUEST) for connection in connections]
        until(lambda: len(ask.manager.servable.calls) > before + 20)
        ask.server.stop(20)
        assert all(count.result() for count in counts)
        for connection in connections:
            connection.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    shutil.which("openssl") or pytest.skip("needs openssl to make keys")
    return self_signed(tmp_path_factory.mktemp("keys"))


def context(keys, **more):
    return tls.context(Tls(keys.key.encode(), keys.cert.encode(), **more), "http/1.1")


def asked(ask, keys, *, shows_certificate):
    context = ssl.create_default_context(cadata=keys.cert)
    if shows_certificate:
        context.load_cert_chain(keys.cert_file, keys.key_file)
    url = f"https://127.0.0.1:{ask.port}/v1/models/model:predict"
    with httpx.Client(verify=context, timeout=20) as client:
        return client.post(url, json=ONE).json()


def test_tls(serve, keys):
    with serve(tls=context(keys)) as ask:
        assert asked(ask, keys, shows_certificate=False) == {"predictions": [1]}


def test_mutual_tls(serve, keys):
    with serve(tls=context(keys, custom_ca=keys.cert.encode(), client_verify=True)) as ask:
        assert asked(ask, keys, shows_certificate=True) == {"predictions": [1]}
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
            asked(ask, keys, shows_certificate=False)
