"""A small SavedModel with a signature of every kind, to be attacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHAPE = (28, 28, 1)
CLASSES = 10


def pictures() -> np.ndarray:
    """What the good client sends: float32 (1, 28, 28, 1)."""
    return np.random.default_rng(3).uniform(0, 255, (1, *SHAPE)).astype(np.float32)


def write(version: Path) -> None:
    """Writes the SavedModel with serving_default, kinds, bytes, classify and regress."""
    import tensorflow as tf

    weights = tf.Variable(np.random.default_rng(4).normal(0, 0.02, (28 * 28, CLASSES)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="images")])
    def images(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.matmul(tf.reshape(images / 255, (-1, 28 * 28)), weights)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    @tf.function(
        input_signature=[
            tf.TensorSpec((None,), tf.int64, name="whole"),
            tf.TensorSpec((None,), tf.string, name="text"),
            tf.TensorSpec((None, 2), tf.bool, name="yes"),
        ]
    )
    def kinds(whole: tf.Tensor, text: tf.Tensor, yes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"double": whole * 2, "length": tf.strings.length(text), "any": tf.reduce_any(yes, -1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def encoded(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def decode(content: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.cast(tf.io.decode_png(content, 1), tf.float32), SHAPE)

        return images(tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(SHAPE, tf.float32)))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="inputs")])
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature((2,), tf.float32)})
        return {"classes": tf.strings.as_string(features["x"]), "scores": features["x"]}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="inputs")])
    def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature((2,), tf.float32)})
        return {"outputs": tf.reduce_sum(features["x"], -1)}

    module = tf.Module()
    module.weights = weights
    signatures = {"serving_default": images, "kinds": kinds, "bytes": encoded, "classify": classify, "regress": regress}
    tf.saved_model.save(module, str(version), signatures=signatures)
