"""Several servers, encryption, tokens, compression, interceptors and hedging, as both clients do them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import socketserver
import threading
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
import tensorflow as tf
from certificates import self_signed, ssl_config
from clients import Failing, echo, served, serving
from saved_models import save

from serving import errors
from serving.client import AsyncPredictClient, Connection, PredictClient, Tls
from serving.client.connection import target
from serving.client.steps import Call
from serving.server import process

X = {"x": np.array([1, 2], np.float32)}


def counting(counts, name):
    """Answers as `echo`, and counts."""

    def answer(request, context):
        counts[name] = counts.get(name, 0) + 1
        return echo(request, context)

    return answer


def test_several_addresses_take_turns(connect):
    counts = {}
    with (
        serving(counting(counts, "a")) as a,
        serving(counting(counts, "b")) as b,
        connect([a, b], "m", check=False) as client,
    ):
        while len(counts) < 2 or min(counts.values()) < 10:
            client.predict(X)
    assert abs(counts["a"] - counts["b"]) <= max(counts.values()) / 2


def test_a_server_that_is_gone_fails_no_call(connect):
    counts = {}
    with serving(counting(counts, "b")) as b, ExitStack() as first:
        a = first.enter_context(serving(counting(counts, "a")))
        with connect([a, b], "m", check=False) as client:
            while len(counts) < 2:
                client.predict(X)
            first.close()
            for _ in range(50):
                client.predict(X)
    assert counts["b"] > 50


def test_a_name_that_stands_for_servers(connect):
    with (
        serving(echo) as address,
        connect(f"dns:///localhost:{address.rpartition(':')[2]}", "m", check=False) as client,
    ):
        assert client.predict(X)["y"].tolist() == [1, 2]


def test_addresses_as_grpc_has_them():
    assert target("host:1") == target(["host:1"]) == "host:1"
    assert target(["127.0.0.1:1", "127.0.0.2:2"]) == "ipv4:127.0.0.1:1,127.0.0.2:2"
    assert target(["[::1]:1", "[::2]:2"]) == "ipv6:[::1]:1,[::2]:2"
    for wrong in ([], ["a:1", "b:1"], ["127.0.0.1:1", "[::1]:1"]):
        with pytest.raises(ValueError, match=r"Several addresses are of the form IP:PORT.*dns:///"):
            PredictClient(wrong, "m")


def test_the_service_config_is_grpcs(connect):
    config = {"methodConfig": [{"name": [{}], "timeout": "0.2s"}]}
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        connect(
            f"127.0.0.1:{silent.getsockname()[1]}", "m", timeout=60, connection=Connection(service_config=config)
        ) as client,
        pytest.raises(errors.DeadlineExceeded),
    ):
        client.status()


class _Proxy(socketserver.ThreadingTCPServer):
    """Passes everything on to `address`, and counts what clients send."""

    daemon_threads = True

    def __init__(self, address):
        super().__init__(("127.0.0.1", 0), None)
        self.target, self.sent = address.split(":"), 0

    def finish_request(self, request, client_address):
        with socket.create_connection(self.target) as onward:
            threading.Thread(target=self._back, args=(onward, request), daemon=True).start()
            while data := request.recv(65536):
                self.sent += len(data)
                onward.sendall(data)

    def _back(self, onward, request):
        try:
            while data := onward.recv(65536):
                request.sendall(data)
        except OSError:
            pass  # one of them has hung up


@pytest.mark.parametrize("gzip", [False, True])
def test_gzip_makes_requests_smaller(server, connect, gzip):
    pictures = np.zeros((2000, 28, 28, 1), np.uint8)
    with _Proxy(server.grpc_address) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{proxy.server_address[1]}"
        with connect(address, "patterns", timeout=60, connection=Connection(gzip=gzip)) as client:
            assert client.predict({"images": pictures})["logits"].shape == (2000, 3)
        proxy.shutdown()
    assert (proxy.sent < pictures.nbytes / 20) == gzip


class _Noting(grpc.UnaryUnaryClientInterceptor):
    """Keeps the methods that it sees."""

    def __init__(self):
        self.seen = []

    def intercept_unary_unary(self, continuation, details, request):
        self.seen.append(details.method)
        return continuation(details, request)


class _AsyncNoting(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self):
        self.seen = []

    async def intercept_unary_unary(self, continuation, details, request):
        self.seen.append(details.method.decode() if isinstance(details.method, bytes) else details.method)
        return await continuation(details, request)


def test_interceptors_see_each_attempt(connect):
    noting = _Noting() if connect is PredictClient else _AsyncNoting()
    failing = Failing(grpc.StatusCode.UNAVAILABLE, 1)
    with served(failing, connect, connection=Connection(interceptors=[noting])) as client:
        client.predict(X)
    assert noting.seen == ["/tensorflow.serving.PredictionService/Predict"] * 2


class Slow:
    """Answers the first `times` calls only once they are cancelled, and the others as `then`."""

    def __init__(self, times=1, then=echo):
        self.times, self.then = times, then
        self.asked, self.cancelled = [], threading.Semaphore(0)

    def __call__(self, request, context):
        self.asked.append(dict(context.invocation_metadata())["x-request-id"])
        if len(self.asked) > self.times:
            return self.then(request, context)
        ended = threading.Event()
        if not context.add_callback(ended.set):  # it was cancelled before this thread had its turn
            ended.set()
        ended.wait(60)
        self.cancelled.release()
        return echo(request, context)


def test_a_second_attempt_overtakes_a_slow_first_which_is_cancelled(connect):
    slow = Slow()
    with served(slow, connect, hedge_after=0.05, timeout=30) as client:
        assert client.predict(X)["y"].tolist() == [1, 2]
        assert slow.cancelled.acquire(timeout=20)
    assert len(set(slow.asked)) == 1, "both attempts have one request id"


def test_a_slow_first_attempt_is_over_when_the_second_is_answered():
    async def ask(address):
        async with AsyncPredictClient(address, "m", check=False, hedge_after=0.05, timeout=30) as client:
            await client.predict(X)
            return asyncio.all_tasks() - {asyncio.current_task()}

    with serving(Slow()) as address:
        assert asyncio.run(ask(address)) == set()


def test_a_second_attempt_has_what_is_left_of_the_time():
    assert Call("Predict", b"", 30, (), hedge_after=1).hedge() == Call("Predict", b"", 29, ())


def test_quick_answers_are_not_asked_for_twice(connect):
    slow = Slow(times=0)
    with served(slow, connect, hedge_after=30, timeout=60) as client:
        client.predict(X)
    assert len(slow.asked) == 1


def test_a_failure_of_either_attempt_is_none_of_the_call(connect):
    """The second fails at once: the first is waited for, here until the deadline."""
    slow = Slow(then=Failing(grpc.StatusCode.INTERNAL, 9))
    with served(slow, connect, hedge_after=0.05, timeout=1) as client, pytest.raises(errors.DeadlineExceeded):
        client.predict(X)
    failing = Failing(grpc.StatusCode.INTERNAL, 9)
    with served(failing, connect, hedge_after=30, timeout=60) as client, pytest.raises(errors.Internal):
        client.predict(X)
    assert len(failing.asked) == 1


def test_only_predictions_are_hedged(connect):
    slow = Slow(times=9)
    with served(slow, connect, hedge_after=0.05, timeout=1) as client, pytest.raises(errors.DeadlineExceeded):
        client.status()
    assert len(slow.asked) == 1


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A server's address that lets in one certificate, with one token; and the keys: its own, a client's, a stranger's."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    folder = tmp_path_factory.mktemp("secured")
    own, known, stranger = (self_signed(folder, name) for name in ("server.test", "client", "stranger"))
    config = ssl_config(
        folder / "ssl.config", server_key=own.key, server_cert=own.cert, custom_ca=known.cert, client_verify=True
    )
    (folder / "tokens").write_text("secret\n")
    save(
        folder / "models" / "doubling" / "1", serving_default=(lambda x: {"y": 2 * x}, tf.TensorSpec((None,), name="x"))
    )
    flags = [f"--ssl_config_file={config}", f"--auth_token_file={folder / 'tokens'}"]
    with process.running([str(folder / "models"), *flags]) as server:
        yield server.grpc_address, own, known, stranger


def test_mutual_tls_and_a_token(secured, connect):
    address, own, known, stranger = secured
    tls = Tls(ca=own.cert_file, certificate=known.cert_file, key=known.key.encode(), server_name="server.test")
    for token in ("secret", lambda: "secret"):
        with connect(address, "doubling", connection=Connection(tls=tls, token=token)) as client:
            assert client.predict(X)["y"].tolist() == [2, 4]
    for token in (None, "wrong"):
        with (
            connect(address, "doubling", connection=Connection(tls=tls, token=token)) as client,
            pytest.raises(errors.Unauthenticated),
        ):
            client.predict(X)
    for wrong in (
        None,
        Tls(ca=own.cert_file, server_name="server.test"),
        Tls(certificate=known.cert_file, key=known.key_file, server_name="server.test"),
        Tls(ca=own.cert_file, certificate=stranger.cert_file, key=stranger.key_file, server_name="server.test"),
        Tls(ca=own.cert_file, certificate=known.cert_file, key=known.key_file, server_name="other.test"),
    ):
        with (
            connect(address, "doubling", timeout=5, connection=Connection(tls=wrong, token="secret")) as client,
            pytest.raises(errors.Unavailable),
        ):
            client.predict(X)


def test_wrong_keys_are_told_before_anything_is_sent(tmp_path):
    with pytest.raises(ValueError, match="certificate and its key go together"):
        Tls(certificate=b"")
    with pytest.raises(FileNotFoundError):
        PredictClient("host:1", "m", connection=Connection(tls=Tls(ca=tmp_path / "none.pem")))
    with pytest.raises(ValueError, match="A timeout is"):
        AsyncPredictClient("host:1", "m", hedge_after=0)
