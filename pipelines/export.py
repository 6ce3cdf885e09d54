"""Turns a trained model into a version that TensorFlow Serving loads: `python -m pipelines.export fashion_mnist`.

A version is published only if it answers, loaded afresh, as the Keras model does. What it answers to is in `endpoints`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines import checksums, dataset, files, model_card, releases, saved_model, warmup, worth
from pipelines.calibration import Calibration, calibrate
from pipelines.config import DataConfig, ExportConfig
from pipelines.endpoints import EXPLAIN, Endpoint, Pictures, endpoints, in_graph, serving_default
from pipelines.errors import ExportRefused, UsageError
from pipelines.evaluate import Evaluation
from pipelines.explain import heat_maps
from pipelines.features import with_embeddings
from pipelines.manifest import DataSet, Split
from pipelines.optimization import PLAIN, VARIANTS, Optimized, optimize
from pipelines.runs import Run
from pipelines.train import load_model
from pipelines.worth import Unseen, Worth

DEFAULTS = ExportConfig()
# Of the largest value of an output, or of 1 if that is smaller.
TOLERANCE = 1e-4
# Heat maps are divided by their largest value, and with it the rounding errors; one part in a hundred nobody sees.
TOLERANCES = {EXPLAIN: 1e-2}
LABELS = {"classify": "classes", EXPLAIN: "label"}
MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Export:
    """A published version, and the largest difference to the Keras model that its check found."""

    folder: Path
    version: int
    max_difference: float
    examples: int
    signatures: tuple[str, ...]
    calibration: Calibration | None
    worth: Worth | None
    """Of an optimized version."""
    is_exact: bool
    """Whether it answers as the trained network does; else as that does with rounded weights."""


class Expected(NamedTuple):
    """What the Keras model says of N pictures."""

    outputs: dict[str, npt.NDArray[Any]]
    """By the name that signatures give it, (N, ...)."""
    labels: list[bytes]
    """Names of the best classes."""


def export(
    run: Run,
    data: DataSet,
    models: Path,
    name: str,
    version: int | None = None,
    examples: int = 256,
    config: ExportConfig = DEFAULTS,
) -> Export:
    """Publishes the model of `run` as `models`/`name`/`version`; version None: one more than the highest there.

    examples: how many pictures the exported model is checked on: their files as the data set has them, through the model's
    own preprocessing, against the Keras model on what the evaluation's pipeline makes of them.

    Raises UsageError for an unfinished run, a version that exists or what cannot be calibrated or compared; ExportRefused
    if the check fails, or an optimized model is less accurate than allowed.
    """
    run.require_complete()
    run.require_classes(data)
    files.require_name("model", name)
    base_path = models / name
    if base_path.exists() and not base_path.is_dir():
        raise UsageError(f"{base_path} must be a folder, for model versions. Received: a file.")
    _choose_version(base_path, version)  # tells of a wrong one before the work
    trained = optimize(load_model(run.model), PLAIN)
    model = trained.model
    optimized, is_exact = optimize(model, config.optimize), VARIANTS[config.optimize].is_exact
    unseen = worth.unseen(run, data, labelled=not is_exact) if config.is_optimized else None
    calibration = calibrate(run, data, optimized.model) if config.calibrate else None
    temperature = calibration.temperature if calibration else 1.0
    traced = _trace(
        optimized, lambda: endpoints(optimized.model, run.config.data, data.class_names, config, temperature)
    )
    signatures = traced.signatures
    pictures = read_pictures(data.held_out.take(slice(examples)), run.config.data, model.input_shape[1:])
    expected = expect(model if is_exact else optimized.model, pictures.images, data.class_names, config, temperature)
    evaluation, measured = run.read_evaluation(), None
    with files.lock(base_path):
        version = _choose_version(base_path, version)
        with files.folder_aside(base_path / str(version)) as aside:
            _write(traced, aside)
            saved_model.require_portable(graph := saved_model.read(aside))
            first = Pictures(pictures.images[:1], pictures.encoded[:1])
            warmup.write(aside, name, {key: {made.spec.name: made.request(first)} for key, made in signatures.items()})
            difference = check(signatures, aside, pictures, expected)
            if unseen is not None:
                measured, evaluation = _compare(trained, optimized, aside, unseen, config)
            origin = model_card.Origin(run, model, data, config)
            findings = model_card.Findings(evaluation, calibration, measured)
            model_card.write(aside, model_card.describe(aside, graph, name, version, origin, findings))
            checksums.write_manifest(aside)
    releases.write_config(models)
    published, checked = base_path / str(version), len(pictures.images)
    return Export(published, version, difference, checked, tuple(signatures), calibration, measured, is_exact)


def read_pictures(split: Split, data: DataConfig, input_shape: tuple[int, int, int]) -> Pictures:
    """All of a small split."""
    read = split.storage.reader()
    encoded = tf.stack([read(tf.constant(number)) for number in range(len(split))])
    return Pictures(tf.constant(dataset.pictures(split, data, input_shape)), encoded)


def _choose_version(base_path: Path, version: int | None) -> int:
    existing = releases.versions(base_path)
    if version is None:
        return max(existing, default=0) + 1
    if not 1 <= version <= MAX_VERSION:
        raise UsageError(f"A version is an integer from 1 to {MAX_VERSION}. Received: {version}.")
    if version in existing:
        raise UsageError(
            f"{base_path / str(version)} already exists: versions are never overwritten. "
            f"Pass --version {max(existing) + 1}, or none for the next free number."
        )
    return version


class _Traced(NamedTuple):
    signatures: dict[str, Endpoint]
    functions: dict[str, Callable[..., Any]]
    variables: list[tf.Variable]


def _trace(network: Optimized, make: Callable[[], dict[str, Endpoint]]) -> _Traced:
    """The signatures that `make` makes of the network, with its weights as they are stored."""
    with network.stored():
        signatures = make()
        functions = {name: in_graph(endpoint.serve, endpoint.spec) for name, endpoint in signatures.items()}
    return _Traced(signatures, functions, network.variables)


def _compare(
    trained: Optimized, optimized: Optimized, version: Path, unseen: Unseen, config: ExportConfig
) -> tuple[Worth, Evaluation | None]:
    """What the version is worth beside a float32 one, and its evaluation. Raises ExportRefused."""
    config, class_names = config.model_copy(update={"xla": False}), unseen.data.class_names
    # What a killed process leaves of it, the next lock clears.
    with tempfile.TemporaryDirectory(prefix=files.ASIDE, dir=version.parent) as folder:
        plain = _trace(trained, lambda: {"serving_default": serving_default(trained.model, class_names, config)})
        _write(plain, Path(folder))
        found, evaluation = worth.measure(unseen, version, optimized, Path(folder), trained)
    worth.require_accuracy(found, config.optimize, config.max_accuracy_drop)
    return found, evaluation


def _write(traced: _Traced, folder: Path) -> None:
    # Variables and signatures. Keras' own archive adds all layers as objects, which no server reads.
    module = tf.Module()
    module.variables_of_the_model = traced.variables
    try:
        tf.saved_model.save(module, str(folder), signatures=traced.functions)
    except tf.errors.OpError as error:
        raise OSError(f"The model could not be written: {' '.join(error.message.split())}") from error


def expect(
    model: keras.Model, images: tf.Tensor, class_names: list[str], config: ExportConfig, temperature: float = 1.0
) -> Expected:
    """What the signatures must answer for `images`, uint8 (N, H, W, C)."""
    network = with_embeddings(model) if config.embeddings else model
    logits, *embeddings = (output.numpy() for output in keras.tree.flatten(network(images, training=False)))
    probabilities = tf.nn.softmax(logits / temperature).numpy()
    scores = -np.sort(-probabilities, axis=1)
    outputs = {"logits": logits, "probabilities": probabilities, "top_scores": scores, "scores": scores}
    if embeddings:
        outputs["embeddings"] = embeddings[0]
    if config.explain:
        heat_map, _ = heat_maps(model)(tf.cast(images, tf.float32))
        outputs |= {"heat_map": heat_map.numpy(), "score": scores[:, 0]}
    return Expected(outputs, [class_names[index].encode() for index in probabilities.argmax(axis=1)])


def check(
    signatures: dict[str, Endpoint],
    folder: Path,
    pictures: Pictures,
    expected: Expected,
) -> float:
    """Loads the version in `folder` afresh; the largest difference of its answers on `pictures` to what is expected.

    Raises ExportRefused if a difference is above 1e-4 (explain: 1e-2), the best class's name is another, or a picture is
    refused.
    """
    loaded = tf.saved_model.load(str(folder))
    worst = 0.0
    for name, endpoint in signatures.items():
        try:
            answer = loaded.signatures[name](**{endpoint.spec.name: endpoint.request(pictures)})
        except tf.errors.InvalidArgumentError as error:
            reason = " ".join(str(error.message).split())
            raise ExportRefused(
                f"The exported signature {name} refuses the data set's own pictures: {reason}"
            ) from error
        answer = {key: value.numpy() for key, value in answer.items()}
        difference, most = _difference(answer, expected), TOLERANCES.get(name, TOLERANCE)
        # Not "above": a NaN is above nothing.
        if not difference <= most:
            raise ExportRefused(
                f"The exported signature {name} differs from the trained model by {difference:.2g} on its pictures. "
                f"Expected at most {most:g}. Nothing was published."
            )
        labels = answer[LABELS.get(name, "top_labels")].reshape(len(expected.labels), -1)
        if labels[:, 0].tolist() != expected.labels:
            raise ExportRefused(f"The exported signature {name} names other classes. Nothing was published.")
        worst = max(worst, difference)
    return worst


def _difference(answer: dict[str, npt.NDArray[Any]], expected: Expected) -> float:
    """The largest of all outputs, each in parts of its largest value if that is above 1; NaN if there is one."""
    compared = [(answer[name], output) for name, output in expected.outputs.items() if name in answer]

    def parts(given: npt.NDArray[Any], output: npt.NDArray[Any]) -> float:
        # Of scores, an answer has the best alone.
        difference = np.abs(given - output[tuple(map(slice, given.shape))]).max()
        return float(difference / max(1.0, np.abs(output).max()))

    return float(np.max([parts(given, output) for given, output in compared]))


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.export)
