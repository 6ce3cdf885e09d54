"""What happens between the pictures of a batch: MixUp, CutMix, and labels that are shares of classes."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from pipelines.augment import draws
from pipelines.augment.pixels import paste, to_uint8
from pipelines.config import AugmentConfig

Batch = dict[str, tf.Tensor]
"""image: uint8 (B, H, W, C); label: int64 (B,); seed: int64 (B, 2); maybe target: float32 (B, classes), rows sum to 1."""

Mixed = tuple[tf.Tensor, tf.Tensor]
"""Picture, uint8 (H, W, C), and the share that the example, and not its partner, has in it: a float32 scalar."""


def mix(config: AugmentConfig, num_classes: int) -> Callable[[Batch], Batch]:
    """Batch -> batch with "target", if MixUp, CutMix or label smoothing is on; otherwise the same batch.

    The partner of each example is the next in the batch, that of the last is the first. How they are mixed is a function of
    the example's own seed; if both MixUp and CutMix are on, it is one of them, each as often. The label stays.
    """
    mixed = _mixing(config)

    def transform(batch: Batch) -> Batch:
        target = tf.one_hot(batch["label"], num_classes)
        if mixed is not None:
            image, partner = batch["image"], tf.roll(batch["image"], -1, axis=0)
            signature = (tf.TensorSpec(image.shape[1:], tf.uint8), tf.TensorSpec((), tf.float32))
            pairs = (image, partner, batch["seed"])
            image, share = tf.map_fn(lambda pair: mixed(*pair), pairs, fn_output_signature=signature)
            share = share[:, tf.newaxis]
            target = share * target + (1 - share) * tf.roll(target, -1, axis=0)
            batch = {**batch, "image": image}
        return {**batch, "target": (1 - config.label_smoothing) * target + config.label_smoothing / num_classes}

    return transform if mixed is not None or config.label_smoothing else lambda batch: batch


def _mixing(config: AugmentConfig) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Mixed] | None:
    """A function (image, partner, seed) -> mixed."""

    def mixup(image: tf.Tensor, partner: tf.Tensor, seed: tf.Tensor) -> Mixed:
        return _mixup(image, partner, _beta(draws.for_stage(seed, draws.MIXUP), config.mixup))

    def cutmix(image: tf.Tensor, partner: tf.Tensor, seed: tf.Tensor) -> Mixed:
        share = _beta(draws.for_stage(seed, draws.CUTMIX), config.cutmix)
        return _cutmix(image, partner, share, draws.uniform(seed, draws.MIXING, 3)[1:])

    def either(image: tf.Tensor, partner: tf.Tensor, seed: tf.Tensor) -> Mixed:
        first = draws.uniform(seed, draws.MIXING, 3)[0] < 0.5
        mixed: Mixed = tf.cond(first, lambda: mixup(image, partner, seed), lambda: cutmix(image, partner, seed))
        return mixed

    if config.mixup and config.cutmix:
        return either
    return mixup if config.mixup else cutmix if config.cutmix else None


def _mixup(image: tf.Tensor, partner: tf.Tensor, share: tf.Tensor) -> Mixed:
    """The weighted mean of both (Zhang et al., 2017)."""
    return to_uint8(share * tf.cast(image, tf.float32) + (1 - share) * tf.cast(partner, tf.float32)), share


def _cutmix(image: tf.Tensor, partner: tf.Tensor, share: tf.Tensor, numbers: tf.Tensor) -> Mixed:
    """Pastes the partner's box of area 1 - share, as far as it is inside the picture (Yun et al., 2019).

    numbers: float32 (2,) in [0, 1), where its centre is. The share returned is that of the pixels that are left.
    """
    size = tf.shape(image)[:2]
    sides = tf.cast(tf.cast(size, tf.float32) * tf.sqrt(1 - share), tf.int32)
    start = draws.below(size, numbers) - sides // 2
    corner, end = tf.maximum(start, 0), tf.minimum(start + sides, size)
    pasted = tf.reduce_prod(end - corner) / tf.reduce_prod(size)
    patch = partner[corner[0] : end[0], corner[1] : end[1]]
    return paste(image, patch, corner), 1 - tf.cast(pasted, tf.float32)


def _beta(seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """A number from Beta(alpha, alpha): X / (X + Y) of two from Gamma(alpha)."""
    first, second = tf.unstack(tf.random.stateless_gamma([2], seed, alpha, dtype=tf.float64))
    return tf.cast(tf.math.divide_no_nan(first, first + second), tf.float32)
