"""Short trainings on Fashion-MNIST: plain steps of stochastic gradient descent, each the same when repeated."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines import array_folder, prepare, train
from pipelines.array_folder import Split

DATA = Path(__file__).parents[2] / "data"
BATCH = 128


class Curve(NamedTuple):
    """A training: means over `every` steps each."""

    every: int
    losses: list[float]
    errors: list[float]
    """Shares of wrong answers, 0..1, at the time of the step."""


@functools.cache
def fashion_mnist(name: str = "train") -> Split:
    """A split of Fashion-MNIST, fetched if it is not there: pictures uint8 (N, 28, 28, 1)."""
    return array_folder.load(prepare.prepare("fashion_mnist", DATA, print)).splits[name]


def fit(
    make: Callable[[], keras.Model], optimizer: keras.optimizers.Optimizer, steps: int, every: int = 25
) -> tuple[keras.Model, Curve]:
    """Trains what `make` builds for `steps` batches of 128; returns it with its curve."""
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(optimizer=optimizer)
    step = train.make_step(model)
    rows = [
        (float(sums.loss) / BATCH, 1 - int(sums.correct) / BATCH)
        for images, labels in itertools.islice(_batches(fashion_mnist()), steps)
        for sums in [step(images, labels)]
    ]
    means = np.array(rows[: steps // every * every]).reshape(-1, every, 2).mean(axis=1)
    return model, Curve(every, *(np.round(column, 4).tolist() for column in means.T))


def accuracy(model: keras.Model) -> float:
    """Share of the test split's pictures that are named rightly, 0..1."""
    split = fashion_mnist("test")
    return float(np.mean(np.argmax(train.predict_logits(model, split), axis=1) == split.labels))


def _batches(split: Split) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Endless: each epoch shows all pictures in a new order."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(split))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = np.sort(order[start : start + BATCH])
            yield tf.constant(split.images[chosen]), tf.constant(split.labels[chosen], tf.int64)
