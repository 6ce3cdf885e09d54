"""What an optimized version is worth beside the float32 one of the same network: accuracy, size, and speed on this CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines import dataset, latency
from pipelines.config import DataConfig
from pipelines.errors import ExportRefused, UsageError
from pipelines.evaluate import Evaluation, judge
from pipelines.manifest import DataSet, Split
from pipelines.optimization import Optimized
from pipelines.runs import Run
from pipelines.train import make_inference, splits


class Unseen(NamedTuple):
    """Pictures that training did not see."""

    name: str
    """Of the split."""
    split: Split
    data: DataSet
    config: DataConfig

    def judge(self, logits: tf.Tensor) -> Evaluation | None:
        """What a network's answers to them are worth; None if they are noise, for want of a data set."""
        return None if self.config.source is None else judge(self.name, self.split.labels, logits, self.data)


@dataclass(frozen=True)
class Worth:
    """Of an optimized version; what begins with float32 is that of the other."""

    examples: int
    split: str | None
    """None if the pictures are noise, which have no classes."""
    accuracy: float | None
    float32_accuracy: float | None
    max_difference: float
    """Between probabilities, 0..1."""
    weight_bytes: int
    float32_weight_bytes: int
    ms: float
    """For one picture, by serving_default; the median."""
    float32_ms: float
    time_ratio: float
    """How many times as long as the float32 version it takes; the median of many turns."""
    folded_layers: int | None
    """How many batch normalizations became part of the layers before them; None: all were to stay."""

    @property
    def accuracy_drop(self) -> float | None:
        """Percent points; negative if it is more often right."""
        if self.accuracy is None or self.float32_accuracy is None:
            return None
        return 100 * (self.float32_accuracy - self.accuracy)


def unseen(run: Run, data: DataSet, *, labelled: bool) -> Unseen:
    """The test split, or else the validation pictures. Raises UsageError without either, or where they must be labelled."""
    config = run.config.data
    if config.source is None and labelled:
        raise UsageError(
            f"{run.folder} has imported weights and no data set on which it could be seen what rounded ones lose. Import them "
            "with --dataset NAME, or choose --optimize folded."
        )
    if "test" in data.splits:
        return Unseen("test", data.splits["test"], data, config)
    _, validation = splits(data, config.validation_examples)
    if not len(validation):
        raise UsageError(
            f"The data set {data.name} has neither test nor validation pictures to compare an optimized version on. Prepare it "
            "with some, such as cnn-tf prepare SOURCE --split train=0.9,test=0.1, or leave out --optimize and --xla."
        )
    return Unseen("validation", validation, data, config)


def measure(
    pictures: Unseen, version: Path, optimized: Optimized, float32: Path, trained: Optimized
) -> tuple[Worth, Evaluation | None]:
    """Compares the SavedModel in `version`, which has warm-up requests, with `trained` and the one of it in `float32`.

    Returns the evaluation of the optimized one, too.
    """
    expected, logits = _answers(pictures, trained.model, version)
    difference = float(np.abs(tf.nn.softmax(logits) - tf.nn.softmax(expected)).max())
    evaluation, float32_evaluation = (pictures.judge(answer) for answer in (logits, expected))
    times = latency.compare(version, float32)
    worth = Worth(
        examples=len(pictures.split),
        split=pictures.name if evaluation else None,
        accuracy=evaluation["accuracy"] if evaluation else None,
        float32_accuracy=float32_evaluation["accuracy"] if float32_evaluation else None,
        max_difference=difference,
        weight_bytes=optimized.weight_bytes,
        float32_weight_bytes=trained.weight_bytes,
        ms=times.ms,
        float32_ms=times.stable_ms,
        time_ratio=times.ratio,
        folded_layers=optimized.folded_layers,
    )
    return worth, evaluation


def _answers(pictures: Unseen, model: keras.Model, version: Path) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits, (N, classes), of the trained model and of the exported one."""
    loaded, infer = tf.saved_model.load(str(version)), make_inference(model)
    batches = dataset.for_evaluation(pictures.split, pictures.config, model.input_shape[1:])
    answers = [
        (infer(batch["image"]), loaded.signatures["serving_default"](images=batch["image"])["logits"])
        for batch in dataset.reading(batches)
    ]
    expected, logits = (tf.concat(of_one, axis=0) for of_one in zip(*answers, strict=True))
    return expected, logits


def require_accuracy(worth: Worth, name: str, max_drop: float) -> None:
    """Raises ExportRefused if the version, called `name`, lost more than `max_drop` percent points."""
    # What rounding takes away is not lost accuracy.
    if (drop := worth.accuracy_drop) is None or drop <= max_drop + 1e-9:
        return
    raise ExportRefused(
        f"In {name} the model is right for {worth.accuracy:.2%} of {worth.examples:,} {worth.split} pictures, in float32 for "
        f"{worth.float32_accuracy:.2%}: {drop:.2f} percent points less. Expected at most {max_drop:g} "
        "(--max-accuracy-drop). Allow more, or choose another --optimize. Nothing was published."
    )
