"""Short trainings on Fashion-MNIST: plain steps of stochastic gradient descent, each the same when repeated."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines import train
from pipelines.sources import fashion_mnist as fashion_mnist_source
from pipelines.sources.arrays import Part
from pipelines.sources.location import Location

BATCH = 128


class Curve(NamedTuple):
    """A training: means over `every` steps each."""

    every: int
    losses: list[float]
    errors: list[float]
    """Shares of wrong answers, 0..1, at the time of the step."""


@functools.cache
def fashion_mnist(name: str = "train") -> Part:
    """A split of Fashion-MNIST, fetched if it is not there: pictures uint8 (N, 28, 28)."""
    source = fashion_mnist_source.open_fashion_mnist(Location.parse(fashion_mnist_source.NAME))
    return source.parts[name]


def fit(
    make: Callable[[], keras.Model], optimizer: keras.optimizers.Optimizer, steps: int, every: int = 25
) -> tuple[keras.Model, Curve]:
    """Trains what `make` builds for `steps` batches of 128; returns it with its curve."""
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(optimizer=optimizer)
    step = train.make_step(model, BATCH)
    rows = [
        (float(sums.loss) / BATCH, 1 - int(sums.correct) / BATCH)
        for sums in map(step, itertools.islice(_batches(fashion_mnist()), steps))
    ]
    means = np.array(rows[: steps // every * every]).reshape(-1, every, 2).mean(axis=1)
    return model, Curve(every, *(np.round(column, 4).tolist() for column in means.T))


def accuracy(model: keras.Model) -> float:
    """Share of the test split's pictures that are named rightly, 0..1."""
    split = fashion_mnist("test")
    batches = tf.data.Dataset.from_tensor_slices({"image": split.images[..., np.newaxis]}).batch(BATCH)
    return float(np.mean(np.argmax(train.predict_logits(train.make_inference(model), batches), axis=1) == split.labels))


def _batches(split: Part) -> Iterator[train.Batch]:
    """Endless: each epoch shows all pictures in a new order."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(split.labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = np.sort(order[start : start + BATCH])
            yield {
                "image": tf.constant(split.images[chosen, ..., np.newaxis]),
                "label": tf.constant(split.labels[chosen]),
                "weight": tf.ones(BATCH),
            }
