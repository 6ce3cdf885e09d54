"""Encryption, certificates of clients, tokens and limits of a real server process, over gRPC and REST."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass

import grpc
import pytest
import tensorflow as tf
from certificates import Pair, self_signed, ssl_config, with_passphrase
from saved_models import save
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.errors import Unavailable
from serving.server import process

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")

UNAUTHENTICATED, EXHAUSTED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
# How a connection ends that never was one: by a TLS alert, or without a word, depending on who is faster.
HUNG_UP = "(?i)alert|closed|eof|reset|pipe"


@dataclass(frozen=True)
class Guarded:
    """A server process, and the keys: its own and those of a client that it knows."""

    server: process.RunningServer
    own: Pair
    known: Pair

    def grpc(self, values=(1.0,), token="", certificate=None):
        """The model's answer over gRPC. Raises RpcError."""
        keys = (certificate.key.encode(), certificate.cert.encode()) if certificate else ()
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "doubling"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(list(values), tf.float32))
        metadata = [("authorization", f"Bearer {token}")] if token else []
        credentials = grpc.ssl_channel_credentials(self.own.cert.encode(), *keys)
        with grpc.secure_channel(self.server.grpc_address, credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            return list(stub.Predict(request, timeout=20, metadata=metadata).outputs["y"].float_val)

    def rest(self, values=(1.0,), token="", certificate=None):
        """Status and answer over REST. Raises OSError if there is none."""
        context = ssl.create_default_context(cadata=self.own.cert)
        if certificate:
            context.load_cert_chain(certificate.cert_file, certificate.key_file)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = json.dumps({"instances": list(values)}).encode()
        asked = urllib.request.Request(f"{self.server.rest_url}doubling:predict", body, headers)
        try:
            with urllib.request.urlopen(asked, timeout=20, context=context) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def grpc_status(self, **request):
        with pytest.raises(grpc.RpcError) as error:
            self.grpc(**request)
        return error.value.code()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [self_signed(folder, name) for name in ("localhost", "client", "stranger")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save(folder / "doubling" / "1", serving_default=(lambda x: {"y": 2 * x}, tf.TensorSpec((None,), name="x")))
    return folder


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def guarded(request, keys, models, tmp_path_factory):
    """Wants a token; a client may ask three times, and then once an hour; 10 kB at most."""
    folder = tmp_path_factory.mktemp("settings")
    config = ssl_config(folder / "ssl.config", server_key=keys[0].key, server_cert=keys[0].cert)
    (folder / "tokens").write_text("# of the test\n" + "".join(f"token-{number}\n" for number in range(9)))
    limits = ["--max_requests_per_second=0.0003", "--max_request_burst=3", "--max_request_bytes=10000"]
    flags = [f"--ssl_config_file={config}", "--rest_api_ssl", f"--auth_token_file={folder / 'tokens'}", *limits]
    with process.running([str(models), f"--grpc_transport={request.param}", *flags]) as running:
        yield Guarded(running, *keys[:2])


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def mutual(request, keys, models, tmp_path_factory):
    """Answers clients that show one certificate alone."""
    config = tmp_path_factory.mktemp("settings") / "ssl.config"
    ssl_config(config, server_key=keys[0].key, server_cert=keys[0].cert, custom_ca=keys[1].cert, client_verify=True)
    flags = [f"--grpc_transport={request.param}", f"--ssl_config_file={config}", "--rest_api_ssl"]
    with process.running([str(models), *flags]) as running:
        yield Guarded(running, *keys[:2])


def test_an_encrypted_server_answers_who_carries_a_token(guarded):
    assert guarded.server.rest_url.startswith("https://")
    assert guarded.grpc([3.0], token="token-0") == [6]
    assert guarded.rest([3.0], token="token-0") == (200, {"predictions": [6]})


@pytest.mark.parametrize("token", ["", "none-of-them"])
def test_nobody_else_is_answered(guarded, token):
    assert guarded.grpc_status(token=token) is UNAUTHENTICATED
    assert guarded.rest(token=token)[0] == 401


def test_plain_text_is_not_answered(guarded):
    with grpc.insecure_channel(guarded.server.grpc_address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"", timeout=20)
    assert error.value.code() is UNAVAILABLE
    with pytest.raises(OSError, match=HUNG_UP):
        urllib.request.urlopen(guarded.server.rest_url.replace("https", "http"), timeout=20)


def test_a_client_that_asks_too_often_is_refused_alone(guarded):
    """Over both ports together."""
    assert guarded.grpc(token="token-1") == [2]
    assert guarded.rest(token="token-1")[0] == 200
    assert guarded.grpc(token="token-1") == [2]
    assert guarded.grpc_status(token="token-1") is EXHAUSTED
    assert guarded.rest(token="token-1")[0] == 429
    assert guarded.grpc(token="token-2") == [2]


def test_a_large_request_is_refused(guarded):
    assert guarded.grpc_status(values=[1.0] * 3000, token="token-3") is EXHAUSTED
    assert guarded.rest([1.0] * 3000, token="token-3")[0] == 413
    assert guarded.grpc([1.0] * 2000, token="token-3") == [2.0] * 2000


def test_a_client_with_the_right_certificate_is_answered(mutual):
    assert mutual.grpc([3.0], certificate=mutual.known) == [6]
    assert mutual.rest([3.0], certificate=mutual.known) == (200, {"predictions": [6]})


@pytest.mark.parametrize("which", [None, 2])
def test_a_client_without_it_is_not_answered(mutual, keys, which):
    certificate = None if which is None else keys[which]
    assert mutual.grpc_status(certificate=certificate) is UNAVAILABLE
    with pytest.raises(OSError, match=HUNG_UP):
        mutual.rest(certificate=certificate)


@pytest.mark.parametrize(
    "flags", [["--grpc_transport=http2"], ["--grpc_transport=grpcio"], ["--port=0", "--rest_api_ssl"]]
)
def test_a_key_under_a_passphrase_is_refused_on_each_port(keys, models, tmp_path, flags):
    """And nobody is asked for it."""
    key = with_passphrase(keys[0], "secret")
    config = ssl_config(tmp_path / "ssl.config", server_key=key, server_cert=keys[0].cert)
    with (
        pytest.raises(Unavailable, match="server_key is under a passphrase"),
        process.running([str(models), f"--ssl_config_file={config}", *flags]),
    ):
        pass
