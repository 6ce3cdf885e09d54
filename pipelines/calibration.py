"""Probabilities that are as often right as they say, by temperature scaling (Guo et al., 2017, arXiv:1706.04599).

Logits are divided by one number, so that the order of classes stays; it is the one under which the validation pictures' labels
are most likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines import dataset
from pipelines.errors import UsageError
from pipelines.manifest import DataSet, Split
from pipelines.runs import Run
from pipelines.train import make_inference, predict_logits, splits

BINS = 15
LOWEST, HIGHEST = 0.01, 100.0


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it is worth."""

    temperature: float
    """What logits are divided by; above 1: the network was too sure."""
    examples: int
    """Validation pictures that it was found on."""
    data: str
    """Fingerprint of their data set."""
    error_before: float
    """Expected calibration error on the test split without it, 0..1."""
    error_after: float
    """The same with it."""


def calibrate(run: Run, data: DataSet, model: keras.Model) -> Calibration:
    """Of `model`, which is that of `run`, on the pictures that the run kept aside for validation.

    Raises UsageError if there are none, or they tell no temperature, or there is no test split.
    """
    config = run.config.data
    if config.source is None:
        raise UsageError(
            f"{run.folder} has imported weights and no data set to be calibrated on. Import them with --dataset NAME, or leave "
            "out --calibrate."
        )
    _, validation = splits(data, config.validation_examples)
    if not len(validation):
        raise UsageError(
            f"{run.folder} kept no pictures aside to be calibrated on: data.validation_examples is 0. Train a run with "
            "some, or leave out --calibrate."
        )
    test, infer = data.split("test"), make_inference(model)

    def logits(split: Split) -> npt.NDArray[np.float64]:
        batches = dataset.for_evaluation(split, config, model.input_shape[1:])
        return np.asarray(predict_logits(infer, batches), np.float64)

    found = temperature(logits(validation), validation.labels)
    tested = logits(test)
    before, after = (expected_calibration_error(_softmax(tested / divisor), test.labels) for divisor in (1, found))
    return Calibration(found, len(validation), data.fingerprint, before, after)


def temperature(logits: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> float:
    """The T for which softmax(logits / T) makes `labels` most likely. logits: (N, classes); labels: (N,) class indices.

    The negative log likelihood is convex in 1 / T, and its derivative is the mean of what the expected logit is above the
    label's; so the zero of that is looked for, by halving.

    Raises UsageError if it is not between 0.01 and 100, as when all pictures are classified right.
    """
    of_labels = logits[np.arange(len(labels)), labels]

    def excess(value: float) -> float:
        return float(np.mean((_softmax(logits / value) * logits).sum(axis=1) - of_labels))

    if not excess(LOWEST) > 0 > excess(HIGHEST):
        right = np.count_nonzero(logits.argmax(axis=1) == labels)
        raise UsageError(
            f"The validation pictures tell no temperature: {right:,} of {len(labels):,} are classified right. Expected most, "
            "and some wrong. Leave out --calibrate, or train with more of them: data.validation_examples."
        )
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(math.exp(middle)) > 0 else (low, middle)
    return math.exp(low)


def expected_calibration_error(probabilities: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """How far confidence and accuracy are apart, 0..1: the mean over 15 bins of confidence, weighted by examples; section 2.

    probabilities: (N, classes); labels: (N,) class indices.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.ceil(confidence * BINS).astype(int) - 1
    return float(np.abs(np.bincount(bins, right - confidence)).sum() / len(labels))


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(tf.nn.softmax(logits))
