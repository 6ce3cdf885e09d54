"""The changes of one picture that a configuration asks for, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from pipelines.augment import colour, draws, erasing, geometry, policies
from pipelines.augment.change import Change
from pipelines.config import AugmentConfig

Example = dict[str, tf.Tensor]
"""image: uint8 (H, W, C); label: int64 scalar; seed: int64 (2,), of this example in this epoch."""


def augment(config: AugmentConfig) -> Callable[[Example], Example]:
    """Example -> example with a changed image. The image's number of channels must be known: 1 or 3."""
    changes = list(_changes(config))
    counts = [change.numbers for change in changes]

    def transform(example: Example) -> Example:
        if not changes:
            return example
        image = example["image"]
        shape = image.shape
        numbers = tf.split(draws.uniform(example["seed"], draws.CHANGES, sum(counts)), counts)
        for change, own in zip(changes, numbers, strict=True):
            image = tf.ensure_shape(change.apply(image, own), shape)
        return {**example, "image": image}

    return transform


def _changes(config: AugmentConfig) -> Iterator[Change]:
    """In the order of the configuration's fields."""
    if config.flip:
        yield Change(1, _flip)
    if config.shift:
        yield Change(2, lambda image, numbers: _shift(image, numbers, config.shift))
    if config.rotation:
        yield Change(1, lambda image, numbers: _rotate(image, numbers, config.rotation))
    if config.brightness or config.contrast or config.saturation or config.hue:
        yield Change(4, lambda image, numbers: _jitter(image, numbers, config))
    if config.policy == "randaugment":
        yield policies.randaugment(config.operations, config.magnitude)
    if config.policy == "trivial_augment_wide":
        yield policies.trivial_augment_wide()
    if config.policy == "augmix":
        yield policies.augmix()
    if config.erasing:
        yield erasing.erase(config.erasing)


def _flip(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    return tf.cond(numbers[0] < 0.5, lambda: geometry.flip(image), lambda: image)


def _shift(image: tf.Tensor, numbers: tf.Tensor, distance: int) -> tf.Tensor:
    down, right = tf.unstack(draws.below(2 * distance + 1, numbers) - distance)
    return geometry.translate(image, down, right)


def _rotate(image: tf.Tensor, numbers: tf.Tensor, degrees: float) -> tf.Tensor:
    return geometry.rotate_smoothly(image, draws.between(-degrees, degrees, numbers[0]))


def _jitter(image: tf.Tensor, numbers: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    brightness, contrast, saturation, hue = tf.unstack(numbers)

    def factor(number: tf.Tensor, change: float) -> tf.Tensor | None:
        return draws.between(1 - change, 1 + change, number) if change else None

    return colour.jitter(
        image,
        factor(brightness, config.brightness),
        factor(contrast, config.contrast),
        factor(saturation, config.saturation),
        draws.between(-config.hue, config.hue, hue) if config.hue else None,
    )
