"""Trains a model into a run folder, or goes on where a stopped training ended: `python -m pipelines.train fashion_mnist`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

import cnn_tf
from cnn_tf import weights
from pipelines import dataset
from pipelines.array_folder import DataSet, Split
from pipelines.config import OptimizerConfig, TrainConfig
from pipelines.errors import DataDamaged, UsageError
from pipelines.interrupt import asked_to_stop
from pipelines.runs import Progress, Run, find

# What an auxiliary head's loss counts beside the main one's (Szegedy et al., "Going deeper with convolutions", section 5).
AUXILIARY_WEIGHT = 0.3

# What the names of layers behind the last stage begin with.
HEAD = ("head_", "aux", "logits")


class Observer(Protocol):
    """Is told how a training goes."""

    def begin(self, run: Path, first_step: int, steps: int, steps_per_epoch: int) -> None:
        """Training starts, or goes on after `first_step` steps."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def epoch(self, row: dict[str, float]) -> None:
        """An epoch is done; `row` is its line of the history."""


class _Sums(NamedTuple):
    loss: tf.Tensor
    correct: tf.Tensor


Step = Callable[[tf.Tensor, tf.Tensor], _Sums]


class _Plan(NamedTuple):
    """What a training is to do."""

    config: TrainConfig
    learning: Split
    validation: Split
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """In all epochs."""
        return self.steps_per_epoch * self.config.epochs


def train(run: Run, config: TrainConfig, data: DataSet, observer: Observer) -> None:
    """Trains until the run is complete. Raises UsageError for a configuration that cannot be, RunBusy.

    Ctrl-C or SIGTERM: the step under way is finished and saved, then KeyboardInterrupt is raised.
    """
    plan = _plan(config, data)
    keras.utils.set_random_seed(config.seed)
    model = _build(plan, data, run.folder.parent)  # before the folder is made: an impossible model leaves no run
    with run.lock():
        if run.is_complete:
            return
        run.begin(config)
        model, progress = _last_state(run, model)
        observer.begin(run.folder, progress.step, plan.steps, plan.steps_per_epoch)
        with asked_to_stop() as stopping:
            _run_steps(run, plan, model, progress, observer, stopping)
        run.save_model(main_model(model))


def _plan(config: TrainConfig, data: DataSet) -> _Plan:
    learning, validation = split_off(data.splits["train"], config.data.validation_examples or 0)
    steps_per_epoch = dataset.steps_per_epoch(learning, config.data.batch_size)
    if steps_per_epoch < 1:
        raise UsageError(
            f"A batch of {config.data.batch_size} needs as many training examples. Received: {len(learning)} "
            "(without those for validation). Lower data.batch_size or data.validation_examples."
        )
    return _Plan(config, learning, validation, steps_per_epoch)


def _last_state(run: Run, model: keras.Model) -> tuple[keras.Model, Progress]:
    """Model and progress of the run's last checkpoint, or the new `model` if there is none."""
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        return model, Progress()
    file, progress = checkpoint
    return load_model(file), progress


def load_model(path: Path) -> keras.Model:
    """The Keras model in a file. Raises DataDamaged."""
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # Keras and its zip and HDF5 readers raise whatever they meet
        raise DataDamaged(f"{path} is damaged. Delete {path.parent} and train again.") from error


def main_model(model: keras.Model) -> keras.Model:
    """The model without auxiliary heads: what is evaluated, saved and exported."""
    return model if len(model.outputs) == 1 else keras.Model(model.inputs, model.outputs[0], name=model.name)


def split_off(split: Split, examples: int) -> tuple[Split, Split]:
    """(for learning, for validation): the last `examples` are for validation. Raises UsageError."""
    if examples >= len(split):
        raise UsageError(f"data.validation_examples must be below {len(split)}, all there are. Received: {examples}.")
    return split.slice(0, len(split) - examples), split.slice(len(split) - examples, len(split))


def _build(plan: _Plan, data: DataSet, runs: Path) -> keras.Model:
    config = plan.config
    try:
        model = cnn_tf.build(config.model, data.image_shape, len(data.class_names), **config.network.model_dump())
    except ValueError as error:
        raise UsageError(f"model: {error}") from None
    if config.initial is not None:
        _start_from(find(config.initial, runs), model, config)
    if config.freeze_backbone:
        _freeze_backbone(model, config)
    # Compiled, so that a saved model carries its optimizer's state; the steps are our own.
    model.compile(optimizer=make_optimizer(config.optimizer, plan.steps_per_epoch, config.epochs))
    return model


def _start_from(initial: Run, model: keras.Model, config: TrainConfig) -> None:
    initial.require_complete()
    if initial.config.model != config.model:
        raise UsageError(
            f"initial: {initial.folder} is a {initial.config.model}. Add --set model={initial.config.model}."
        )
    for setting in ("scaling", "norm_epsilon"):
        theirs, ours = getattr(initial.config.network, setting), getattr(config.network, setting)
        if theirs != ours:
            raise UsageError(
                f"initial: the weights in {initial.folder} were made with network.{setting}={theirs}, not {ours}. "
                f"Add --set network.{setting}={theirs}."
            )
    try:
        weights.transfer(load_model(initial.model), model)
    except ValueError as error:
        raise UsageError(f"initial: {error}") from None


def _freeze_backbone(model: keras.Model, config: TrainConfig) -> None:
    if config.initial is None:
        raise UsageError(
            "freeze_backbone keeps trained weights as they are: name the run that has them with initial=RUN."
        )
    for layer in model.layers:
        layer.trainable = layer.name.startswith(HEAD)
    if not model.trainable_weights:
        raise UsageError(f"freeze_backbone: {config.model} has no weights in its head, so nothing is left to train.")


def make_optimizer(config: OptimizerConfig, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
    """The optimizer with its learning rate schedule: linear warm-up, then a half cosine to zero."""
    steps = steps_per_epoch * epochs
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    if config.name == "adam":
        return keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
    return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)


def _run_steps(
    run: Run, plan: _Plan, model: keras.Model, progress: Progress, observer: Observer, stopping: Callable[[], bool]
) -> None:
    """The remaining steps; keeps `progress`, history and checkpoints. Raises KeyboardInterrupt if asked to stop."""
    step = make_step(model)
    run.write_history(progress.history)
    saved = time.monotonic()
    for batch, seconds in _timed(iter(dataset.for_training(plan.learning, plan.config, progress.step))):
        sums = step(batch["image"], batch["label"])
        progress.step += 1
        progress.loss_sum += float(sums.loss)
        progress.correct += int(sums.correct)
        progress.examples += plan.config.data.batch_size
        progress.seconds += seconds()
        observer.step(progress)
        ends_epoch = progress.step % plan.steps_per_epoch == 0
        if ends_epoch:
            observer.epoch(_end_epoch(model, progress, plan.validation))
        if ends_epoch or stopping() or time.monotonic() - saved > plan.config.checkpoint_seconds:
            run.save_checkpoint(model, progress)
            run.write_history(progress.history)
            saved = time.monotonic()
        if stopping() and progress.step < plan.steps:
            raise KeyboardInterrupt


def _timed(batches: Iterator[dict[str, tf.Tensor]]) -> Iterator[tuple[dict[str, tf.Tensor], Callable[[], float]]]:
    """Each batch with a clock that began before the batch was asked for."""
    while True:
        begin = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, lambda begin=begin: time.monotonic() - begin  # type: ignore[misc]


def make_step(model: keras.Model) -> Step:
    """One optimizer step on a batch: images (B, H, W, C), labels (B,) -> sum of losses, number of correct answers."""
    # Known before tracing: a variable that comes to be inside a traced function cannot be saved.
    model.optimizer.build(model.trainable_variables)

    def step(images: tf.Tensor, labels: tf.Tensor) -> _Sums:
        with tf.GradientTape() as tape:
            logits, *auxiliary = keras.tree.flatten(model(images, training=True))
            losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            loss = tf.reduce_mean(losses)
            for others in auxiliary:
                more = keras.losses.sparse_categorical_crossentropy(labels, others, from_logits=True)
                loss += AUXILIARY_WEIGHT * tf.reduce_mean(more)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return _Sums(tf.reduce_sum(losses), _count_correct(labels, logits))

    traced: Step = tf.function(step, reduce_retracing=True)
    return traced


def _count_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(tf.equal(labels, tf.argmax(logits, axis=-1)))


def _end_epoch(model: keras.Model, progress: Progress, validation: Split) -> dict[str, float]:
    """Moves the epoch's sums into a row of the history."""
    row = {
        "epoch": len(progress.history) + 1,
        "loss": progress.loss_sum / progress.examples,
        "accuracy": progress.correct / progress.examples,
        "learning_rate": float(model.optimizer.learning_rate),
        "seconds": progress.seconds,
        "examples_per_second": progress.examples / progress.seconds,
    }
    if len(validation):
        row |= _validate(model, validation)
    progress.history.append(row)
    progress.loss_sum, progress.correct, progress.examples, progress.seconds = 0.0, 0, 0, 0.0
    return row


def _validate(model: keras.Model, validation: Split) -> dict[str, float]:
    logits = predict_logits(main_model(model), validation)
    labels = tf.constant(validation.labels, tf.int64)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    correct = int(_count_correct(labels, logits))
    return {"validation_loss": float(tf.reduce_mean(losses)), "validation_accuracy": correct / len(validation)}


def predict_logits(model: keras.Model, split: Split) -> tf.Tensor:
    """(N, classes) logits of all examples, in order."""
    infer = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return tf.concat([infer(batch["image"]) for batch in dataset.for_evaluation(split)], axis=0)


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.train)
