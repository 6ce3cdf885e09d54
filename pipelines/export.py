"""Turns a trained model into a version that TensorFlow Serving loads: `python -m pipelines.export fashion_mnist`.

A version is published only if it answers, loaded afresh, as the Keras model does. Its signatures:

    serving_default   images       uint8 (B, H, W, C), values 0..255
    serving_bytes     image_bytes  string (B,), each an encoded JPEG, PNG, GIF, BMP or WebP of any size up to a limit of pixels
    classify          inputs       string (B,), each a serialized tf.Example with the feature image/encoded
    serving_bytes_lenient          as serving_bytes; on request

All but `classify` answer with logits, probabilities (B, classes), and top_scores, top_classes (index), top_labels (text), all
(B, k), the best first; `classify` with classes and scores (B, k), as TensorFlow Serving's Classify API wants them. Encoded
pictures are guarded in the graph, see `guards`. The lenient one answers with valid (bool) and problem (text, "" where valid),
both (B,), too; for a picture that is not valid, numbers are NaN, classes -1 and labels "".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from pipelines import checksums, dataset, files, guards, model_card, releases, saved_model, transforms
from pipelines.config import DataConfig, ExportConfig
from pipelines.errors import ExportRefused, UsageError
from pipelines.manifest import DataSet, Split
from pipelines.runs import Run
from pipelines.storage import ENCODED
from pipelines.train import load_model

DEFAULTS = ExportConfig()
LENIENT = "serving_bytes_lenient"
TOP_K = 5
TOLERANCE = 1e-4
MAX_VERSION = 2**63 - 1
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

Outputs = dict[str, tf.Tensor]
Serve = Callable[[tf.Tensor], Outputs]


@dataclass(frozen=True)
class Export:
    """A published version, and the largest difference to the Keras model that its check found."""

    folder: Path
    version: int
    max_difference: float
    examples: int
    signatures: tuple[str, ...]


class Pictures(NamedTuple):
    """Examples as the pipeline decodes them, uint8 (N, H, W, C), and their files' bytes, string (N,)."""

    images: tf.Tensor
    encoded: tf.Tensor


class _Endpoint(NamedTuple):
    """A signature: its function, what it takes, and how a batch of pictures is written for it."""

    serve: Serve
    spec: tf.TensorSpec
    request: Callable[[Pictures], tf.Tensor]


def export(
    run: Run,
    data: DataSet,
    models: Path,
    name: str,
    version: int | None = None,
    examples: int = 256,
    config: ExportConfig = DEFAULTS,
) -> Export:
    """Publishes the model of `run` as `models`/`name`/`version`; version None: one more than the highest there.

    examples: how many pictures the exported model is checked on: their files as the data set has them, through the model's
    own preprocessing, against the Keras model on what the evaluation's pipeline makes of them.

    Raises UsageError for an unfinished run or a version that exists, ExportRefused if the check fails.
    """
    run.require_complete()
    run.require_classes(data)
    files.require_name("model", name)
    base_path = models / name
    if base_path.exists() and not base_path.is_dir():
        raise UsageError(f"{base_path} must be a folder, for model versions. Received: a file.")
    _choose_version(base_path, version)  # tells of a wrong one before the work
    model = load_model(run.model)
    endpoints = _endpoints(model, run.config.data, data.class_names, config)
    pictures = read_pictures(data.held_out.take(slice(examples)), run.config.data, model.input_shape[1:])
    with files.lock(base_path):
        version = _choose_version(base_path, version)
        with files.folder_aside(base_path / str(version)) as aside:
            _write(model, endpoints, aside)
            saved_model.require_portable(graph := saved_model.read(aside))
            _write_warmup(endpoints, Pictures(pictures.images[:1], pictures.encoded[:1]), name, aside / WARMUP_FILE)
            difference = check(model, endpoints, aside, pictures, data.class_names)
            card = model_card.describe(aside, graph, run, model, data, name=name, version=version, config=config)
            model_card.write(aside, card)
            checksums.write_manifest(aside)
    releases.write_config(models)
    return Export(base_path / str(version), version, difference, len(pictures.images), tuple(endpoints))


def read_pictures(split: Split, data: DataConfig, input_shape: tuple[int, int, int]) -> Pictures:
    """All of a small split."""
    read = split.storage.reader()
    encoded = tf.stack([read(tf.constant(number)) for number in range(len(split))])
    return Pictures(tf.constant(dataset.pictures(split, data, input_shape)), encoded)


def _choose_version(base_path: Path, version: int | None) -> int:
    existing = releases.versions(base_path)
    if version is None:
        return max(existing, default=0) + 1
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"A version is an integer from 1 to {MAX_VERSION}. Received: {version}.")
    if version in existing:
        raise UsageError(
            f"{base_path / str(version)} already exists: versions are never overwritten. "
            f"Pass --version {max(existing) + 1}, or none for the next free number."
        )
    return version


def _endpoints(
    model: keras.Model, data: DataConfig, class_names: list[str], config: ExportConfig = DEFAULTS
) -> dict[str, _Endpoint]:
    input_shape = model.input_shape[1:]
    # Signatures call these functions, of which the graph has one each.
    transform = transforms.decode_and_fit(input_shape, data.fit, data.interpolation)
    decode_one = _in_graph(transform, tf.TensorSpec((), tf.string))
    guarded = decode_one, tf.TensorSpec(input_shape, tf.uint8), config.max_pixels
    images = tf.TensorSpec((None, *input_shape), tf.uint8, name="images")
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    decode = _in_graph(guards.decode_all(*guarded), image_bytes)
    serve_images: Serve = _in_graph(_serve_images(model, class_names), images)

    def serve_bytes(image_bytes: tf.Tensor) -> Outputs:
        return serve_images(decode(image_bytes))

    def serve_bytes_lenient(image_bytes: tf.Tensor) -> Outputs:
        pictures, problem = decode_each(image_bytes)
        valid = problem == ""
        outputs = {name: _blank_unless(valid, output) for name, output in serve_images(pictures).items()}
        return {**outputs, "valid": valid, "problem": problem}

    def classify(inputs: tf.Tensor) -> Outputs:
        features = tf.io.parse_example(inputs, {ENCODED: tf.io.FixedLenFeature((), tf.string)})
        outputs = serve_bytes(features[ENCODED])
        return {"classes": outputs["top_labels"], "scores": outputs["top_scores"]}

    endpoints = {
        "serving_default": _Endpoint(serve_images, images, lambda pictures: pictures.images),
        "serving_bytes": _Endpoint(serve_bytes, image_bytes, lambda pictures: pictures.encoded),
        "classify": _Endpoint(classify, tf.TensorSpec((None,), tf.string, name="inputs"), _examples),
    }
    if config.lenient:
        decode_each = guards.decode_each(*guarded)
        endpoints[LENIENT] = _Endpoint(serve_bytes_lenient, image_bytes, lambda pictures: pictures.encoded)
    return endpoints


def _in_graph(function: Callable[[tf.Tensor], Any], spec: tf.TensorSpec) -> Callable[[tf.Tensor], Any]:
    """What it computes, traced: a tf.function would be traced again by each that calls it, and kept twice."""
    return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()  # type: ignore[no-any-return]


def _blank_unless(valid: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """(B, N) with each row blank that is not valid, (B,): NaN, -1 or ""."""
    blank = "" if output.dtype == tf.string else math.nan if output.dtype.is_floating else -1
    return tf.where(valid[:, tf.newaxis], output, tf.constant(blank, output.dtype))


def _serve_images(model: keras.Model, class_names: list[str]) -> Serve:
    top_k = min(TOP_K, len(class_names))
    labels = tf.constant(class_names)

    def serve_images(images: tf.Tensor) -> Outputs:
        # No server checks shapes; this names the wrong one before some inner layer does.
        images = tf.ensure_shape(images, model.input_shape)
        logits = model(tf.cast(images, tf.float32), training=False)
        probabilities = tf.nn.softmax(logits)
        scores, classes = tf.math.top_k(probabilities, top_k)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "top_scores": scores,
            "top_classes": classes,
            "top_labels": tf.gather(labels, classes),
        }

    return serve_images


def _write(model: keras.Model, endpoints: dict[str, _Endpoint], folder: Path) -> None:
    # Variables and signatures. Keras' own archive adds all layers as objects, which no server reads.
    module = tf.Module()
    module.variables_of_the_model = [variable.value for variable in model.variables]
    signatures = {name: _in_graph(endpoint.serve, endpoint.spec) for name, endpoint in endpoints.items()}
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except tf.errors.OpError as error:
        raise OSError(f"The model could not be written: {' '.join(error.message.split())}") from error


def _write_warmup(endpoints: dict[str, _Endpoint], pictures: Pictures, name: str, file: Path) -> None:
    """A request for every signature, which a server runs before it calls the version available."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, endpoint in endpoints.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            request.inputs[endpoint.spec.name].CopyFrom(tf.make_tensor_proto(endpoint.request(pictures)))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def check(
    model: keras.Model, endpoints: dict[str, _Endpoint], folder: Path, pictures: Pictures, labels: list[str]
) -> float:
    """Loads the version in `folder` afresh; the largest difference of its answers to the Keras model's on `pictures`.

    Compared are the scores of classify, logits and probabilities of the other signatures, and the best class's name in all;
    `labels` are the class names.

    Raises ExportRefused if a difference is above 1e-4, a name is another, or a picture is refused.
    """
    loaded = tf.saved_model.load(str(folder))
    logits = model(pictures.images, training=False).numpy()
    probabilities = tf.nn.softmax(logits).numpy()
    names = [labels[index].encode() for index in probabilities.argmax(axis=1)]
    worst = 0.0
    for signature, endpoint in endpoints.items():
        try:
            answer = loaded.signatures[signature](**{endpoint.spec.name: endpoint.request(pictures)})
        except tf.errors.InvalidArgumentError as error:
            reason = " ".join(str(error.message).split())
            raise ExportRefused(
                f"The exported signature {signature} refuses the data set's own pictures: {reason}"
            ) from error
        answer = {key: value.numpy() for key, value in answer.items()}
        answered_names = answer["classes" if signature == "classify" else "top_labels"][:, 0].tolist()
        difference = _difference(answer, logits, probabilities)
        # Not "above": a NaN is above nothing.
        if not difference <= TOLERANCE:
            raise ExportRefused(
                f"The exported signature {signature} differs from the trained model by {difference:.2g} on its pictures. "
                f"Expected at most {TOLERANCE:g}. Nothing was published."
            )
        if answered_names != names:
            raise ExportRefused(f"The exported signature {signature} names other classes. Nothing was published.")
        worst = max(worst, difference)
    return worst


def _difference(answer: dict[str, Any], logits: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> float:
    if "scores" in answer:
        best = -np.sort(-probabilities, axis=1)[:, : answer["scores"].shape[1]]
        return float(np.abs(answer["scores"] - best).max())
    differences = np.abs(answer["logits"] - logits).max(), np.abs(answer["probabilities"] - probabilities).max()
    return float(np.max(differences))


def _examples(pictures: Pictures) -> tf.Tensor:
    """String (N,), serialized tf.Examples."""

    def example(encoded: bytes) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
        message = tf.train.Example(features=tf.train.Features(feature={ENCODED: feature}))
        return bytes(message.SerializeToString())

    return tf.constant([example(encoded) for encoded in pictures.encoded.numpy()])


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.export)
