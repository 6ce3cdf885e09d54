"""A real HTTP server before real SavedModels; the manager is a dictionary."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import tensorflow as tf
from support import load_servable
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import errors
from serving.server.manager import State, VersionStatus
from serving.server.rest import RestServer, Settings

NUMBERS = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"]
OTHERS = ["float16", "bfloat16", "uint16", "complex64"]


def identity(dtype):
    dtype = tf.as_dtype(dtype)
    return tf.function(lambda x: {"y": tf.identity(x)}).get_concrete_function(tf.TensorSpec(None, dtype, name="x"))


class Several(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "a"), tf.TensorSpec(None, tf.int32, "b")])
    def two(self, a, b):
        return {"a": tf.identity(a), "b": tf.identity(b)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, "x")])
    def both(self, x):
        return {"text": tf.identity(x), "x_bytes": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, "x")])
    def as_bytes(self, x):
        return {"x_bytes": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def total(self, x):
        return {"y": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def uneven(self, x):
        return {"y": x, "z": tf.concat([x, x], 0)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def to_half(self, x):
        return {"y": tf.cast(x, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def invalid(self, x):
        return {"y": tf.reshape(x, [17])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        spec = {"x": tf.io.FixedLenFeature([], tf.float32), "label": tf.io.FixedLenFeature([], tf.string, "none")}
        parsed = tf.io.parse_example(inputs, spec)
        return {"classes": parsed["label"][:, None], "scores": parsed["x"][:, None]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": self.classify(inputs)["scores"]}


def save(folder):
    model = Several()
    signatures = {f"id_{dtype}": identity(dtype) for dtype in [*NUMBERS, *OTHERS, "string"]}
    names = ("two", "both", "as_bytes", "total", "uneven", "to_half", "invalid", "classify", "regress")
    signatures |= {name: getattr(model, name).get_concrete_function() for name in names}
    model.identities = list(signatures.values())
    signatures["serving_default"] = signatures["id_float32"]
    tf.saved_model.save(model, str(folder), signatures)


class Submitting:
    """The servable, with the interface that it is going to have."""

    def __init__(self, path):
        self._servable = load_servable(path)
        self._pool = futures.ThreadPoolExecutor(4)
        self.open = threading.Event()
        self.open.set()
        self.calls = []

    @property
    def signatures(self):
        return self._servable.signatures

    def submit(self, inputs, signature_name, output_filter, call, done):
        self.calls.append(call)
        self._pool.submit(self._run, inputs, signature_name, output_filter, done)

    def _run(self, inputs, signature_name, output_filter, done):
        self.open.wait(60)
        try:
            done(self._servable.run(inputs, signature_name, output_filter))
        except errors.ServingError as error:
            done(error)

    def close(self):
        self.open.set()
        self._pool.shutdown()
        self._servable.close()


@dataclass
class Lent:
    name: str
    version: int
    servable: Submitting
    lending: set = field(repr=False)

    def release(self):
        self.lending.discard(id(self))


@dataclass
class Manager:
    servable: Submitting
    unready: list = field(default_factory=list)
    lending: set = field(default_factory=set)

    @property
    def names(self):
        return ["model", *self.unready]

    def borrow(self, name, version=None, label=None):
        if label not in (None, "stable"):
            raise errors.InvalidArgument(f"Unrecognized servable version label: {label}")
        if name not in ("model", "a/b:c") or version not in (None, 1):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise errors.NotFound(f"Servable not found for request: {asked}")
        lent = Lent(name, 1, self.servable, self.lending)
        self.lending.add(id(lent))
        return lent

    def statuses(self, name, version=None):
        if name != "model":
            raise errors.NotFound(f"Could not find any versions of model {name}")
        failed = VersionStatus(2, State.END, errors.NotFound("no files"))
        found = [failed, VersionStatus(1, State.AVAILABLE)]
        chosen = [status for status in found if version in (None, status.version)]
        if not chosen:
            raise errors.NotFound(f"Could not find version {version} of model {name}")
        return chosen


def on_examples(make):
    def answer(lent, signature_name, examples, call, done):
        def converted(outputs):
            done(outputs if isinstance(outputs, Exception) else make(outputs))

        inputs = {"inputs": tf.constant(list(examples)).numpy()}
        lent.servable.submit(inputs, signature_name, (), call, converted)

    return answer


def classification(outputs):
    result = classification_pb2.ClassificationResult()
    for classes, scores in zip(outputs["classes"], outputs["scores"], strict=True):
        one = result.classifications.add()
        for label, score in zip(classes, scores, strict=True):
            one.classes.add(label=label, score=score)
    return result


def regression(outputs):
    return regression_pb2.RegressionResult(
        regressions=[regression_pb2.Regression(value=value) for value in outputs["outputs"].ravel()]
    )


class Asker:
    """Asks a server, over one connection that stays open."""

    def __init__(self, server, manager):
        self.server, self.manager, self.port = server, manager, server.port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=100)

    def __call__(self, verb, path, body=None, headers=None):
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.request(verb, path, content=content, headers=headers)

    def predict(self, body, model="model", headers=None):
        return self("POST", f"/v1/models/{model}:predict", body, headers)

    def error(self, body, **options):
        """Status and text of a predict request that fails."""
        response = self.predict(body, **options)
        assert response.headers["content-type"] == "application/json"
        return response.status_code, response.json()["error"]


@pytest.fixture(scope="session")
def servable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rest") / "1"
    save(folder)
    loaded = Submitting(folder)
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def serve(servable):
    """Starts a server with settings, for the time of a `with` block."""

    @contextmanager
    def running(manager=None, tls=None, **settings):
        manager = manager or Manager(servable)
        classify, regress = on_examples(classification), on_examples(regression)
        chosen = dataclasses.replace(Settings(threads=2), **settings)
        server = RestServer(manager, [("127.0.0.1", 0)], classify=classify, regress=regress, settings=chosen, tls=tls)
        server.start()
        asker = Asker(server, manager)
        try:
            yield asker
        finally:
            servable.open.set()
            asker.http.close()
            server.stop(5)

    return running


@pytest.fixture(scope="session")
def ask(serve):
    with serve() as asker:
        yield asker
