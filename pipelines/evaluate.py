"""Measures a trained model on a split it has not seen: `python -m pipelines.evaluate fashion_mnist`."""

from __future__ import annotations

import json
import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines import dataset, files
from pipelines.cache import Make
from pipelines.manifest import DataSet
from pipelines.reports.figures import Mistake
from pipelines.reports.training import write_report
from pipelines.runs import Run
from pipelines.train import load_model, make_inference, predict_logits, splits

Evaluation = dict[str, Any]
"""split, data (the data set's fingerprint), examples, loss, accuracy, class_names, confusion_matrix (row: true class),
per_class (precision, recall, f1, ...)."""


def evaluate(run: Run, data: DataSet, split_name: str = "test") -> Evaluation:
    """Writes evaluation.json and report/ into the run folder. Raises UsageError if the run is not complete."""
    run.require_complete()
    split = data.split(split_name)
    run.require_classes(data)
    model = load_model(run.model)
    shown = run.config.data, model.input_shape[1:]
    logits = predict_logits(make_inference(model), dataset.for_evaluation(split, *shown))
    evaluation = judge(split_name, split.labels, logits, data)
    write_report(
        run.report,
        title=f"{run.config.model} on {data.name}",
        history=run.history,
        evaluation=evaluation,
        mistakes=worst_mistakes(split.labels, tf.nn.softmax(logits).numpy(), dataset.decoded(split, *shown)),
        facts=_facts(run, data, model),
    )
    # Last, so that an evaluation that is there has its report beside it.
    files.write(run.evaluation, json.dumps(evaluation, indent=2) + "\n")
    return evaluation


def judge(split_name: str, labels: npt.NDArray[Any], logits: tf.Tensor, data: DataSet) -> Evaluation:
    """What a network's logits, (N, classes), on a split of `data` are worth. labels: (N,) class indices."""
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return {
        "split": split_name,
        "data": data.fingerprint,
        "loss": float(tf.reduce_mean(losses)),
        **measure(labels, np.argmax(logits, axis=1), data.class_names),
    }


def measure(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], class_names: list[str]) -> Evaluation:
    """Accuracy, confusion matrix, and precision, recall and F1 of each class (0 where a class never occurs).

    labels, predicted: (N,) class indices.
    """
    classes = len(class_names)
    counts = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes**2).reshape(classes, classes)
    correct = np.diag(counts)
    precision = correct / np.maximum(counts.sum(axis=0), 1)
    recall = correct / np.maximum(counts.sum(axis=1), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "examples": len(labels),
        "accuracy": float(correct.sum() / max(len(labels), 1)),
        "class_names": class_names,
        "confusion_matrix": counts.tolist(),
        "per_class": [
            {"name": name, "precision": float(p), "recall": float(r), "f1": float(f), "examples": int(n)}
            for name, p, r, f, n in zip(class_names, precision, recall, f1, counts.sum(axis=1), strict=True)
        ],
    }


def worst_mistakes(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[Any], pixels: Make, most: int = 48
) -> list[Mistake]:
    """The wrong answers that the model was surest of. labels: (N,); probabilities: (N, classes)."""
    predicted = probabilities.argmax(axis=1)
    sureness = np.where(predicted == labels, -1.0, probabilities.max(axis=1))
    order = [int(index) for index in np.argsort(-sureness, kind="stable")[:most] if sureness[index] >= 0]
    return [
        Mistake(pixels(tf.constant(i)).numpy(), i, int(labels[i]), int(predicted[i]), float(probabilities[i].max()))
        for i in order
    ]


def _trainable(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _facts(run: Run, data: DataSet, model: keras.Model) -> dict[str, str]:
    config, environment = run.config, run.environment
    height, width, channels = model.input_shape[1:]
    learning, validation = (len(split) for split in splits(data, config.data.validation_examples))
    seconds = sum(epoch["seconds"] for epoch in run.history)
    return {
        "Model": f"{config.model}, {_trainable(model):,} trainable parameters",
        "Data": f"{data.name}, pictures of {height}×{width}×{channels}",
        **(
            {"Weights": environment["weights"]}
            if "weights" in environment
            else {
                "Examples": f"{learning:,} for training, {validation:,} for validation",
                "Training": f"{config.epochs} epochs in {seconds:.0f} s",
                "Optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.learning_rate:g}, "
                f"batches of {config.data.batch_size}",
            }
        ),
        "Seed": str(config.seed),
        "Libraries": ", ".join(f"{name} {environment[name]}" for name in ("tensorflow", "keras", "numpy")),
        "Machine": environment["platform"],
        **({"Git revision": environment["git"]} if "git" in environment else {}),
    }


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.evaluate)
