"""The clients over REST: what they are asked gets the same answers and errors as over gRPC."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
from certificates import self_signed
from clients import AwaitedRest
from PIL import Image
from saved_models import save
from support import CLASS_NAMES

from serving import errors
from serving.client import Connection, PredictClient, Refused, RestPredictClient, Retry, TensorSpec, Tls
from serving.client.rest import values
from serving.server import process

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
FEW = Retry(attempts=3, first=0.001)


@pytest.fixture(params=[RestPredictClient, AwaitedRest])
def connect(request):
    return request.param


def root(server):
    return server.rest_url.partition("/v1/")[0]


@pytest.fixture
def rest(server, connect):
    with connect(root(server), "patterns") as client:
        yield client


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A server of the model `m`: a signature for each data type, which answers with its input, and others."""
    folder = tmp_path_factory.mktemp("models")
    identities = {
        name: (lambda x: {"y": tf.identity(x)}, tf.TensorSpec(None, name, "x"))
        for name in [*DTYPES, "float16", "string"]
    }
    numbers = tf.TensorSpec((None, 2), name="x")
    features = {"x": tf.io.FixedLenFeature([], tf.float32), "label": tf.io.FixedLenFeature([], tf.string)}

    def classify(inputs):
        parsed = tf.io.parse_example(inputs, features)
        return {"classes": parsed["label"][:, None], "scores": parsed["x"][:, None]}

    save(
        folder / "m" / "1",
        **identities,
        raw=(lambda x: {"y_bytes": x, "size": tf.strings.length(x)}, tf.TensorSpec((None,), tf.string, "x")),
        several=(lambda x: {"a": x, "b": tf.cast(x[:, 0], tf.int64)}, numbers),
        classify=(classify, tf.TensorSpec((None,), tf.string, "inputs")),
    )
    with process.running([f"--model_base_path={folder / 'm'}", "--model_name=m"]) as running:
        yield running


@pytest.fixture
def both(model):
    """The clients over gRPC and over REST."""
    with PredictClient(model.grpc_address, "m") as over_grpc, RestPredictClient(root(model), "m") as over_rest:
        yield over_grpc, over_rest


def extremes(name):
    """Values that are easily lost on the way through JSON."""
    dtype = np.dtype(name)
    if dtype.kind == "b":
        return np.array([[True, False]])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([[limits.min, limits.max], [0, 1]], dtype)
    limits = np.finfo(dtype)
    return np.array(
        [[np.nan, np.inf, -np.inf, -0.0], [limits.max, limits.tiny, limits.eps, 0.1], [1 / 3, 16777217, 1e-7, 9e6]],
        dtype,
    )


@pytest.mark.parametrize("name", DTYPES)
def test_values_of_each_type_arrive_as_over_grpc(both, name):
    for array in (extremes(name), extremes(name)[0, 0], extremes(name)[:, :0], extremes(name).T):
        answers = [client.predict({"x": array}, signature=name)["y"] for client in both]
        for answer in answers:
            assert (answer.dtype, answer.shape) == (array.dtype, array.shape)
            assert answer.tobytes() == array.tobytes() or np.isnan(array).any()
            np.testing.assert_array_equal(answer, array)


def test_all_floats_survive_their_text():
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32)
    floats = bits.view(np.float32)
    floats = floats[np.isfinite(floats)]
    text = values.dump({"x": values.written("x", floats)})
    np.testing.assert_array_equal(np.array(json.loads(text)["x"], np.float32), floats)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [([1.5], "int64"), ([300], "uint8"), ([1], "bool"), (["a"], "float32"), ([[1], [1, 2]], "int8"), ([1], "type 20")],
)
def test_values_of_another_type_are_not_converted(value, dtype):
    with pytest.raises(ValueError):  # noqa: PT011
        values.read(value, TensorSpec(dtype, (None,)))


def test_text_and_bytes(both):
    for given in ([["a", "é"]], [[b"a", "é".encode()]], np.array([["a", "é"]])):
        for client in both:
            assert client.predict({"x": given}, signature="string")["y"].tolist() == [[b"a", "é".encode()]]
    for client in both:
        assert client.predict({"x": b"alone"}, signature="string")["y"].item() == b"alone"
        answer = client.predict({"x": [b"\x00\xff", b""]}, signature="raw")
        assert answer["y_bytes"].tolist() == [b"\x00\xff", b""]
        assert (answer["size"].tolist(), answer["size"].dtype) == ([2, 0], np.int32)


def test_several_outputs_all_or_some(both):
    for client in both:
        answer = client.predict({"x": [[1, 2]]}, signature="several")
        assert (answer["a"].dtype, answer["b"].dtype, answer["b"].tolist()) == (np.float32, np.int64, [1])
        assert list(client.predict({"x": [[1, 2]]}, signature="several", outputs=["b"]).arrays) == ["b"]


@pytest.mark.parametrize("outputs", [["c"], ["b", "b"]])
def test_outputs_that_are_none_are_refused_in_the_same_words(both, outputs):
    texts = []
    for client in both:
        with pytest.raises(errors.InvalidArgument) as error:
            client.predict({"x": [[1, 2]]}, signature="several", outputs=outputs)
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_what_json_has_no_form_for_goes_over_grpc(both):
    over_grpc, over_rest = both
    half = np.ones(2, np.float16)
    assert over_grpc.predict({"x": half}, signature="float16")["y"].tolist() == [1, 1]
    with pytest.raises(errors.Unimplemented, match="'x' is float16, .*over gRPC only. Use PredictClient"):
        over_rest.predict({"x": half}, signature="float16")
    with pytest.raises(errors.InvalidArgument, match=re.escape("of shape (0, 2) is empty")):
        over_rest.predict({"x": np.empty((0, 2), np.float32)}, signature="several")
    with pytest.raises(errors.Unimplemented, match="HandleReloadConfigRequest is a call of gRPC's only"):
        over_rest.reload("model_config_list {}")


def test_classifies(both):
    example = {"x": np.float32(0.1), "label": "é"}
    answers = [client.classify([example, {"x": float("nan"), "label": b"b"}]) for client in both]
    assert answers[0]["classes"].tolist() == answers[1]["classes"].tolist() == [["é".encode()], [b"b"]]
    np.testing.assert_array_equal(answers[0]["scores"], answers[1]["scores"])
    texts = []
    for client in both:
        with pytest.raises(errors.InvalidArgument) as error:
            client.classify({"label": "no x"})
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_each_kind_of_input_gets_the_same_answer(rest, client, tmp_path):
    expected = client.predict(PIXELS)["probabilities"]
    images = [Image.fromarray(pixels[..., 0]) for pixels in PIXELS]
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for image, file in zip(images, files, strict=True):
        image.save(file)
    encoded = [file.read_bytes() for file in files]
    for given in (PIXELS, PIXELS.tolist(), images, encoded, files, {"images": images}):
        np.testing.assert_allclose(rest.predict(given)["probabilities"], expected, atol=1e-6)
    one = rest.predict(str(files[0]))
    assert one.label in CLASS_NAMES
    assert one.top(2) == client.predict(files[0]).top(2)
    assert rest.predict(files[0], version=1).version == 1
    assert one.version == 0, "which is not told"


def test_tells_of_the_model(rest, client):
    assert rest.metadata() == client.metadata()
    assert rest.status() == client.status() == [(1, "AVAILABLE", "")]
    assert rest.wait_until_ready(timeout=1) == 1


@pytest.mark.parametrize(
    ("given", "options", "kind"),
    [
        ({"images": PIXELS.astype(float)}, {}, errors.InvalidArgument),
        ({"images": PIXELS}, {"version": 5}, errors.NotFound),
        ({"images": PIXELS}, {"label": "none"}, errors.InvalidArgument),
        ({"images": PIXELS}, {"signature": "none"}, errors.FailedPrecondition),
        ({"image_bytes": [b"no picture"]}, {"signature": "serving_bytes"}, errors.InvalidArgument),
    ],
)
def test_errors_are_those_of_grpc(rest, client, given, options, kind):
    texts = []
    for each in (client, rest):
        with pytest.raises(kind) as error:
            each.predict(given, **options)
        texts.append(str(error.value).splitlines()[0])
    assert texts[0] == texts[1]


def test_a_signature_that_was_not_checked_is_refused_nevertheless(server):
    with RestPredictClient(root(server), "patterns", check=False) as client:
        assert client.predict({"images": PIXELS})["probabilities"].dtype == np.float32
        with pytest.raises(errors.FailedPrecondition, match='Serving signature key "none" not found'):
            client.predict({"images": PIXELS}, signature="none")


@contextmanager
def answering(answer, context=None):
    """An HTTP server whose `answer(path, headers, body)` is the status and the body, under TLS by `context`; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, content = answer(self.path, self.headers, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        if context is not None:
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if context else ''}://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "attempts"),
    [
        (400, errors.InvalidArgument, 1), (401, errors.Unauthenticated, 1), (403, errors.PermissionDenied, 1),
        (404, errors.NotFound, 1), (409, errors.Aborted, 1), (413, errors.ResourceExhausted, 3),
        (418, errors.ServingError, 1), (429, errors.ResourceExhausted, 3), (499, errors.Cancelled, 1),
        (500, errors.Internal, 1), (501, errors.Unimplemented, 1), (502, errors.Unavailable, 3),
        (503, errors.Unavailable, 3), (504, errors.DeadlineExceeded, 1),
    ],
)  # fmt: skip
def test_every_http_status_is_an_exception_and_only_safe_ones_are_tried_again(status, kind, attempts):
    asked = []

    def answer(path, headers, body):
        asked.append(headers["x-request-id"])
        return status, b'{"error": "as told"}'

    with answering(answer) as url, RestPredictClient(url, "m", retry=FEW) as client, pytest.raises(kind) as error:
        client.status()
    assert type(error.value) is kind
    assert "as told" in str(error.value) or status == 504
    assert asked == [error.value.request_id] * attempts


def test_goes_on_after_failures_and_sends_token_and_gzip(model, connect):
    seen = []
    with RestPredictClient(root(model), "m") as client:
        metadata = client._http.get("/v1/models/m/metadata").content

    def answer(path, headers, body):
        seen.append((path, headers["authorization"], headers["content-encoding"]))
        if path.endswith("metadata"):
            return 200, metadata
        return (503, b"busy") if len(seen) < 4 else (200, b'{"outputs": [Infinity, 0.5]}')

    connection = Connection(token="secret", gzip=True)
    with answering(answer) as url, connect(url, "m", connection=connection, retry=FEW) as client:
        answered = client.predict({"x": np.ones(2, np.float32)}, signature="float32", label="a/b")
    assert answered["y"].tolist() == [np.inf, 0.5]
    path = "/v1/models/m/labels/a%2Fb"
    assert seen == [(f"{path}/metadata", "Bearer secret", None), *[(f"{path}:predict", "Bearer secret", "gzip")] * 3]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"outputs": [1.5]}', b'{"outputs": {"a": []}}', b'{"a": 1}'])
def test_an_answer_of_something_else_is_told(model, body):
    with RestPredictClient(root(model), "m") as client:
        metadata = client._http.get("/v1/models/m/metadata").content

    def answer(path, headers, sent):
        return 200, metadata if path.endswith("metadata") else body

    with (
        answering(answer) as url,
        RestPredictClient(url, "m") as client,
        pytest.raises(errors.Internal, match="The answer is not"),
    ):
        client.predict({"x": np.array([1])}, signature="int64")
    with (
        answering(lambda *_: (200, body)) as url,
        RestPredictClient(url, "m") as client,
        pytest.raises(errors.ServingError),
    ):
        client.predict({"x": np.array([1])})


def test_a_new_version_may_give_something_else(model, connect):
    def told(dtype):
        shape = {"tensor_shape": {"dim": [{"size": "-1"}]}}
        info = {"inputs": {"x": {"dtype": "DT_FLOAT", **shape}}, "outputs": {"y": {"dtype": dtype, **shape}}}
        return json.dumps({"metadata": {"signature_def": {"signature_def": {"serving_default": info}}}}).encode()

    answers = iter([told("DT_INT64"), b'{"outputs": [1]}', b'{"outputs": ["one"]}', told("DT_STRING")])
    with answering(lambda *_: (200, next(answers))) as url, connect(url, "m") as client:
        x = {"x": np.ones(1, np.float32)}
        assert client.predict(x)["y"].tolist() == [1]
        assert client.predict(x)["y"].tolist() == [b"one"]


def test_a_server_below_a_path_of_a_proxy(connect):
    asked = []

    def answer(path, headers, body):
        asked.append(path)
        return 200, b'{"model_version_status": [{"version": "7", "state": "AVAILABLE"}]}'

    with answering(answer) as url:
        for address in (f"{url}/tf", f"{url}/tf/"):
            with connect(address, "m") as client:
                assert client.status() == [(7, "AVAILABLE", "")]
    assert asked == ["/tf/v1/models/m"] * 2


def test_nobody_there_and_nobody_who_answers(connect):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            connect(url, "m", timeout=0.2) as client,
            pytest.raises(errors.DeadlineExceeded, match="within the timeout"),
        ):
            client.status()
    with (
        connect(url, "m", retry=FEW) as client,
        pytest.raises(
            errors.Unavailable, match=f"No server answers at {url}. Is it running, and is this its REST port"
        ),
    ):
        client.status()


def test_an_answer_that_drips_runs_into_the_timeout(connect):
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip():
            connection, _ = slow.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with connect(url, "m", timeout=0.3) as client, pytest.raises(errors.DeadlineExceeded):
            client.status()
        stop.set()
        thread.join()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_mutual_tls(tmp_path, connect):
    own, known, stranger = (self_signed(tmp_path, name) for name in ("server.test", "client", "stranger"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert_file, own.key_file)
    context.load_verify_locations(known.cert_file)
    context.verify_mode = ssl.CERT_REQUIRED
    with answering(lambda *_: (200, b'{"model_version_status": []}'), context) as url:

        def ask(tls):
            with connect(url, "m", connection=Connection(tls=tls), retry=None) as client:
                return client.status()

        for key in (known.key.encode(), known.key_file):
            name = "server.test"
            assert ask(Tls(ca=own.cert_file, certificate=known.cert_file, key=key, server_name=name)) == []
        assert ask(Tls(ca=own.cert.encode(), certificate=known.cert_file, key=known.key_file)) == [], (
            "made out to the IP, too"
        )
        for wrong in (
            None,
            Tls(ca=own.cert_file),
            Tls(certificate=known.cert_file, key=known.key_file),
            Tls(ca=own.cert_file, certificate=stranger.cert_file, key=stranger.key_file),
            Tls(ca=own.cert_file, certificate=known.cert_file, key=known.key_file, server_name="other.test"),
        ):
            with pytest.raises(errors.Unavailable):
                ask(wrong)


def test_a_closed_client_says_so(server, connect):
    with connect(root(server), "patterns") as client:
        client.status()
        client.close()
        with pytest.raises(errors.Cancelled, match="closed"):
            client.status()


@pytest.mark.parametrize(
    ("address", "connection", "message"),
    [
        ("localhost:8501", Connection(), "one URL, such as http://localhost:8501"),
        (["http://a:1", "http://b:1"], Connection(), "one URL"),
        ("http://a:1?b", Connection(), "one URL"),
        ("http://a:1", Connection(tls=Tls()), "TLS goes to https://"),
        ("http://a:1", Connection(interceptors=[object()]), "are gRPC's"),
    ],
)
def test_an_address_or_setting_of_another_kind_is_refused(connect, address, connection, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        connect(address, "m", connection=connection)


def test_the_packages_of_rest_are_needed_for_rest_only():
    code = """
import sys, serving.client
print([name for name in ("httpx", "orjson") if name in sys.modules])
sys.modules["httpx"] = None
try:
    serving.client.RestPredictClient
except ModuleNotFoundError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "[]",
        "httpx is not installed. To install what REST needs, in the checkout: pip install '.[rest]'",
    ]


def test_all_names_can_be_imported_without_the_packages_of_rest():
    code = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name == "httpx" else find(name, *package)
from serving.client import *
print("PredictClient" in globals(), "RestPredictClient" in globals())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "True False\n"


@pytest.mark.parametrize("token", ["secret\n", "s\u00e9cret"])
def test_a_token_that_no_header_holds_is_not_told(connect, token):
    with (
        connect("http://127.0.0.1:1", "m", connection=Connection(token=token)) as client,
        pytest.raises(errors.InvalidArgument, match="no header can") as error,
    ):
        client.status()
    assert "cret" not in str(error.value)


def test_map_gives_what_it_gives_over_grpc(rest, server):
    many = [PIXELS[number % 3] for number in range(20)]
    many[7] = PIXELS[0, :5]
    with PredictClient(server.grpc_address, "patterns") as over_grpc:
        expected = list(over_grpc.map(many, batch_size=4, in_flight=2))
    answers = list(rest.map(many, batch_size=4, in_flight=2))
    assert [getattr(answer, "label", None) for answer in answers] == [
        getattr(answer, "label", None) for answer in expected
    ]
    assert [isinstance(answer, Refused) for answer in answers] == [number == 7 for number in range(20)]
