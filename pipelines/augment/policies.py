"""Augmentation policies: which of the usual operations a picture gets, and how strongly.

RandAugment (Cubuk et al., 2019) and TrivialAugment Wide (Mueller, Hutter, 2021) have fourteen operations, with torchvision's
ranges; AugMix (Hendrycks et al., 2019) has the nine that its paper has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from pipelines.augment import colour, draws, geometry
from pipelines.augment.change import Change
from pipelines.augment.pixels import to_uint8

# Of AugMix: chains that are mixed, most operations in one, and strengths as shares of the strongest (severity 3 of 10).
AUGMIX_CHAINS, AUGMIX_DEPTH, AUGMIX_STRENGTHS = 3, 3, (0.01, 0.3)

NUMBERS_PER_OPERATION = 3


class Operation(NamedTuple):
    """(image, value) -> image; and the values at strength 0 and 1. The sign of a signed one's is random."""

    apply: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False


def _nine(
    slope: float, distance: Callable[[tf.Tensor], tf.Tensor | float], degrees: float, bits: int
) -> tuple[Operation, ...]:
    """AugMix's operations, and the identity as the tenth. Given are the strongest values.

    distance: from the length of the side along which the picture is moved; both in pixels. bits: how many are lost.
    """

    def right(image: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return geometry.translate(image, 0, _whole(share * distance(_side(image, 1))))

    def down(image: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return geometry.translate(image, _whole(share * distance(_side(image, 0))), 0)

    return (
        Operation(geometry.shear_x, 0.0, slope, signed=True),
        Operation(geometry.shear_y, 0.0, slope, signed=True),
        Operation(right, 0.0, 1.0, signed=True),
        Operation(down, 0.0, 1.0, signed=True),
        Operation(geometry.rotate, 0.0, degrees, signed=True),
        Operation(lambda image, lost: colour.posterize(image, 8 - _whole(lost)), 0.0, bits),
        Operation(colour.solarize, 255.0, 0.0),
        Operation(lambda image, _: colour.autocontrast(image)),
        Operation(lambda image, _: colour.equalize(image)),
        Operation(lambda image, _: image),
    )


def _fourteen(nine: tuple[Operation, ...], change: float) -> tuple[Operation, ...]:
    """RandAugment's and TrivialAugment's; `change`: the farthest that a factor is from 1."""
    return (
        *nine,
        Operation(lambda image, value: colour.jitter(image, brightness=1 + value), 0.0, change, signed=True),
        Operation(lambda image, value: colour.jitter(image, saturation=1 + value), 0.0, change, signed=True),
        Operation(lambda image, value: colour.jitter(image, contrast=1 + value), 0.0, change, signed=True),
        Operation(lambda image, value: colour.sharpen(image, 1 + value), 0.0, change, signed=True),
    )


def _side(image: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.cast(tf.shape(image)[axis], tf.float32)


def _whole(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(value), tf.int32)


RANDAUGMENT = _fourteen(_nine(0.3, lambda side: 150 / 331 * side, 30.0, 4), 0.9)
TRIVIAL_AUGMENT_WIDE = _fourteen(_nine(0.99, lambda side: 32.0, 135.0, 6), 0.99)
AUGMIX = _nine(0.3, lambda side: side / 3, 30.0, 4)

# What AugMix's chains end in. It is the last of its table.
IDENTITY = len(AUGMIX) - 1


def randaugment(operations: int, magnitude: float) -> Change:
    """Applies so many of the fourteen one after the other, all at strength magnitude / 30."""
    apply = applying(RANDAUGMENT)

    def policy(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        for choice, sign, _ in _rows(numbers):
            image = apply(image, draws.below(len(RANDAUGMENT), choice), sign, tf.constant(magnitude / 30))
        return image

    return Change(operations * NUMBERS_PER_OPERATION, policy)


def trivial_augment_wide() -> Change:
    """Applies one of the fourteen at one of 31 strengths."""
    apply = applying(TRIVIAL_AUGMENT_WIDE)

    def policy(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        choice, sign, strength = tf.unstack(numbers)
        strength = tf.cast(draws.below(31, strength), tf.float32) / 30
        return apply(image, draws.below(len(TRIVIAL_AUGMENT_WIDE), choice), sign, strength)

    return Change(NUMBERS_PER_OPERATION, policy)


def augmix() -> Change:
    """Mixes the picture, in a uniform share, with a Dirichlet(1, 1, 1) mixture of chains of one to three operations."""
    apply = applying(AUGMIX)
    per_chain = 2 + AUGMIX_DEPTH * NUMBERS_PER_OPERATION

    def chain(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        depth = 1 + draws.below(AUGMIX_DEPTH, numbers[0])
        for step, (choice, sign, strength) in enumerate(_rows(numbers[1:])):
            index = tf.where(step < depth, draws.below(IDENTITY, choice), IDENTITY)
            image = apply(image, index, sign, draws.between(*AUGMIX_STRENGTHS, strength))
        return tf.cast(image, tf.float32)

    def policy(image: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        share, chains = numbers[0], tf.reshape(numbers[1:], (AUGMIX_CHAINS, per_chain))
        weights = -tf.math.log1p(-chains[:, 0])  # exponential; divided by their sum they are Dirichlet
        weights = share * weights / tf.reduce_sum(weights)
        mixed = (1 - share) * tf.cast(image, tf.float32)
        for weight, own in zip(tf.unstack(weights), tf.unstack(chains), strict=True):
            mixed += weight * chain(image, own[1:])
        return to_uint8(mixed)

    return Change(1 + AUGMIX_CHAINS * per_chain, policy)


@functools.cache
def applying(table: tuple[Operation, ...]) -> Callable[..., tf.Tensor]:
    """A function (image, index into the table, number that decides the sign, strength 0..1) -> image.

    Always the same one: tracing its operations takes a second or two, for each size of pictures once.
    """
    branches = [tf.function(functools.partial(_branch, operation), autograph=False) for operation in table]

    def apply(*inputs: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        # tf.switch_case would lay all branches into the graph, and each picture pays for passing over them.
        return tf.raw_ops.StatelessCase(
            branch_index=index,
            input=inputs,
            Tout=[tf.uint8],
            branches=[branch.get_concrete_function(*inputs) for branch in branches],
            output_shapes=[inputs[0].shape],
        )[0]

    # One graph, however often a policy applies it.
    traced: Callable[..., tf.Tensor] = tf.function(apply, autograph=False)
    return lambda image, index, sign, strength: traced(image, sign, strength, index=index)


def _branch(operation: Operation, image: tf.Tensor, sign: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    value = draws.between(operation.weakest, operation.strongest, strength)
    return operation.apply(image, tf.where(sign < 0.5, -value, value) if operation.signed else value)


def _rows(numbers: tf.Tensor) -> list[list[tf.Tensor]]:
    """For each operation: which, with which sign, how strong."""
    return [tf.unstack(row) for row in tf.unstack(tf.reshape(numbers, (-1, NUMBERS_PER_OPERATION)))]
