"""The signatures of an exported model: what each takes and answers.

    serving_default   images       uint8 (B, H, W, C), values 0..255
    serving_bytes     image_bytes  string (B,), each an encoded JPEG, PNG, GIF, BMP or WebP of any size up to a limit of pixels
    classify          inputs       string (B,), each a serialized tf.Example with the feature image/encoded
    serving_bytes_lenient          as serving_bytes; on request
    explain                        as serving_bytes; on request

The first two answer with logits, probabilities (B, classes), and top_scores, top_classes (index), top_labels (text), all
(B, k), the best first, and on request with embeddings (B, D), see `features`; `classify` with classes and scores (B, k), as
TensorFlow Serving's Classify API wants them. The lenient one answers with valid (bool) and problem (text, "" where valid), both
(B,), too; for a picture that is not valid, numbers are NaN, classes -1 and labels "". `explain` answers with label (text) and
score of the best class, both (B,), and heat_map, float32 (B, H, W), 0..1: what in the picture spoke for it. Encoded pictures
are guarded in the graph, see `guards`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from pipelines import guards, transforms
from pipelines.config import DataConfig, ExportConfig
from pipelines.explain import heat_maps
from pipelines.features import with_embeddings
from pipelines.storage import ENCODED

LENIENT = "serving_bytes_lenient"
EXPLAIN = "explain"
TOP_K = 5

Outputs = dict[str, tf.Tensor]
Serve = Callable[[tf.Tensor], Outputs]


class Pictures(NamedTuple):
    """Examples as the pipeline decodes them, uint8 (N, H, W, C), and their files' bytes, string (N,)."""

    images: tf.Tensor
    encoded: tf.Tensor


class Endpoint(NamedTuple):
    """A signature: its function, what it takes, and how a batch of pictures is written for it."""

    serve: Serve
    spec: tf.TensorSpec
    request: Callable[[Pictures], tf.Tensor]


def endpoints(
    model: keras.Model, data: DataConfig, class_names: list[str], config: ExportConfig, temperature: float = 1.0
) -> dict[str, Endpoint]:
    """By the names of the signatures; probabilities are softmax(logits / temperature)."""
    input_shape = model.input_shape[1:]
    # Signatures call these functions, of which the graph has one each.
    image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
    guarded, decode = _decoding(input_shape, data.fit, data.interpolation, config.max_pixels, image_bytes)
    rank = _rank(class_names, temperature)
    default = serving_default(model, class_names, config, temperature)
    serve_images = default.serve

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

    def explain(image_bytes: tf.Tensor) -> Outputs:
        heat_map, logits = explain_images(tf.cast(decode(image_bytes), tf.float32))
        ranked = rank(logits)
        return {"heat_map": heat_map, "label": ranked["top_labels"][:, 0], "score": ranked["top_scores"][:, 0]}

    found = {
        "serving_default": default,
        "serving_bytes": Endpoint(serve_bytes, image_bytes, lambda pictures: pictures.encoded),
        "classify": Endpoint(classify, tf.TensorSpec((None,), tf.string, name="inputs"), _examples),
    }
    if config.lenient:
        decode_each = guards.decode_each(*guarded)
        found[LENIENT] = Endpoint(serve_bytes_lenient, image_bytes, lambda pictures: pictures.encoded)
    if config.explain:
        explain_images = heat_maps(model)
        found[EXPLAIN] = Endpoint(explain, image_bytes, lambda pictures: pictures.encoded)
    return found


@functools.lru_cache(maxsize=2)
def _decoding(
    input_shape: tuple[int, int, int], fit: str, interpolation: str, max_pixels: int, image_bytes: tf.TensorSpec
) -> tuple[tuple[Serve, tf.TensorSpec, int], Serve]:
    """(what `guards` takes, the decoding of a whole batch). To trace it takes seconds, and it is the same for every network."""
    transform = transforms.decode_and_fit(input_shape, fit, interpolation)
    guarded = in_graph(transform, tf.TensorSpec((), tf.string)), tf.TensorSpec(input_shape, tf.uint8), max_pixels
    return guarded, in_graph(guards.decode_all(*guarded), image_bytes)


def serving_default(
    model: keras.Model, class_names: list[str], config: ExportConfig, temperature: float = 1.0
) -> Endpoint:
    """That signature alone, which decodes nothing."""
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="images")
    serve: Serve = in_graph(_serve_images(model, _rank(class_names, temperature), config), images)
    return Endpoint(serve, images, lambda pictures: pictures.images)


def in_graph(function: Callable[[tf.Tensor], Any], spec: tf.TensorSpec) -> Callable[[tf.Tensor], Any]:
    """What it computes, traced: a tf.function would be traced again by each that calls it, and kept twice."""
    return tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()  # type: ignore[no-any-return]


def _blank_unless(valid: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """(B, N) with each row blank that is not valid, (B,): NaN, -1 or ""."""
    blank = "" if output.dtype == tf.string else math.nan if output.dtype.is_floating else -1
    return tf.where(valid[:, tf.newaxis], output, tf.constant(blank, output.dtype))


def _rank(class_names: list[str], temperature: float) -> Serve:
    """Logits (B, classes) -> the outputs that follow from them."""
    top_k = min(TOP_K, len(class_names))
    labels = tf.constant(class_names)

    def rank(logits: tf.Tensor) -> Outputs:
        probabilities = tf.nn.softmax(logits / temperature)
        scores, classes = tf.math.top_k(probabilities, top_k)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "top_scores": scores,
            "top_classes": classes,
            "top_labels": tf.gather(labels, classes),
        }

    return rank


def _serve_images(model: keras.Model, rank: Serve, config: ExportConfig) -> Serve:
    network = with_embeddings(model) if config.embeddings else model

    def run(images: tf.Tensor) -> list[tf.Tensor]:
        outputs: list[tf.Tensor] = keras.tree.flatten(network(tf.cast(images, tf.float32), training=False))
        return outputs

    if config.xla:  # which knows no text, so it is for the network alone
        run = tf.function(run, jit_compile=True, autograph=False)

    def serve_images(images: tf.Tensor) -> Outputs:
        # No server checks shapes; this names the wrong one before some inner layer does.
        logits, *embeddings = run(tf.ensure_shape(images, model.input_shape))
        return {**rank(logits), **({"embeddings": embeddings[0]} if embeddings else {})}

    return serve_images


def _examples(pictures: Pictures) -> tf.Tensor:
    """String (N,), serialized tf.Examples."""

    def example(encoded: bytes) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
        message = tf.train.Example(features=tf.train.Features(feature={ENCODED: feature}))
        return bytes(message.SerializeToString())

    return tf.constant([example(encoded) for encoded in pictures.encoded.numpy()])
