"""Trains a model into a run folder, or goes on where a stopped training ended: `python -m pipelines.train fashion_mnist`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import tensorflow as tf

import cnn_tf
from cnn_tf import naming, weights
from pipelines import data_service, dataset
from pipelines.cache import Cache, no_cache
from pipelines.config import OptimizerConfig, TrainConfig
from pipelines.dataset import Shape
from pipelines.errors import DataDamaged, UsageError
from pipelines.interrupt import asked_to_stop
from pipelines.manifest import DataSet, Split
from pipelines.runs import Progress, Run, find

# What an auxiliary head's loss counts beside the main one's (Szegedy et al., "Going deeper with convolutions", section 5).
AUXILIARY_WEIGHT = 0.3

# What the names of layers behind the last stage begin with.
HEAD = ("head_", "aux", "logits")


class Observer(Protocol):
    """Is told how a training goes."""

    def begin(self, run: Path, first_step: int, steps: int, epochs: int) -> None:
        """Training starts, or goes on after `first_step` of `steps` steps, which are `epochs` epochs."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def epoch(self, row: dict[str, float]) -> None:
        """An epoch is done; `row` is its line of the history."""


class _Sums(NamedTuple):
    loss: tf.Tensor
    correct: tf.Tensor


Batch = dict[str, tf.Tensor]
Step = Callable[[Batch], _Sums]
Validation = Callable[[], dict[str, float]]
Inference = Callable[[tf.Tensor], tf.Tensor]


class Loading(NamedTuple):
    """How examples come, which changes nothing of what is learned from them."""

    cache: Cache = no_cache
    service: str | None = None
    """Address of a tf.data service."""


PLAIN = Loading()


class _Plan(NamedTuple):
    """What a training is to do."""

    config: TrainConfig
    learning: Split
    validation: Split
    input_shape: Shape
    class_names: list[str]
    loading: Loading

    @property
    def steps(self) -> int:
        """In all epochs."""
        return dataset.steps(self.learning, self.config)

    def epochs(self, steps: int) -> int:
        """Whole epochs that are over after `steps` steps."""
        return min(steps * self.config.data.batch_size // len(self.learning), self.config.epochs)


def train(run: Run, config: TrainConfig, data: DataSet, observer: Observer, loading: Loading = PLAIN) -> None:
    """Trains until the run is complete. Raises UsageError for a configuration that cannot be, RunBusy.

    Ctrl-C or SIGTERM: the step under way is finished and saved, then KeyboardInterrupt is raised.
    """
    plan = _plan(config, data, loading)
    keras.utils.set_random_seed(config.seed)
    model = _build(plan, run.folder.parent)  # before the folder is made: an impossible model leaves no run
    with run.lock():
        if run.is_complete:
            return
        run.begin(config, data=data.fingerprint)
        run.write_class_names(data.class_names)
        model, progress = _last_state(run, model)
        observer.begin(run.folder, progress.step, plan.steps, config.epochs)
        with asked_to_stop() as stopping:
            _run_steps(run, plan, model, progress, observer, stopping)
        run.save_model(main_model(model))


def _plan(config: TrainConfig, data: DataSet, loading: Loading) -> _Plan:
    learning, validation = splits(data, config.data.validation_examples)
    return _Plan(config, learning, validation, input_shape(config, data), data.class_names, loading)


def splits(data: DataSet, validation_examples: int | None) -> tuple[Split, Split]:
    """(for learning, for validation); the meaning of `validation_examples` is DataConfig's. Raises UsageError."""
    split = data.split("train")
    if validation_examples is None and "validation" in data.splits:
        return split, data.splits["validation"]
    return split_off(split, min(5000, len(split) // 10) if validation_examples is None else validation_examples)


def input_shape(config: TrainConfig, data: DataSet) -> Shape:
    """(H, W, C) of what the network is shown. Raises UsageError."""
    if config.data.input_shape is not None:
        try:
            return naming.parse_shape(config.data.input_shape)
        except ValueError as error:
            raise UsageError(f"data.input_shape: {error}") from None
    if data.image_shape is not None:
        return data.image_shape
    if config.model not in cnn_tf.MODELS:
        raise UsageError(f"model: {naming.unknown('model', config.model, cnn_tf.MODELS)}")
    height, width, _ = cnn_tf.MODELS[config.model].keywords["input_shape"]
    return height, width, data.channels


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
    first = len(split) - examples
    return split.take(slice(first)), split.take(slice(first, None))


def _build(plan: _Plan, runs: Path) -> keras.Model:
    config = plan.config
    initial = _initial(config, runs)
    try:
        model = cnn_tf.build(config.model, plan.input_shape, len(plan.class_names), **config.network.model_dump())
    except ValueError as error:
        raise UsageError(f"model: {error}") from None
    if initial is not None:
        try:
            weights.transfer(load_model(initial.model), model)
        except ValueError as error:
            raise UsageError(f"initial: {error}") from None
    if config.freeze_backbone:
        _freeze_backbone(model, config)
    # Compiled, so that a saved model carries its optimizer's state; the steps are our own.
    model.compile(optimizer=make_optimizer(config.optimizer, plan.steps, config.epochs))
    return model


def _initial(config: TrainConfig, runs: Path) -> Run | None:
    """The run whose weights are those to begin with; told before a network is built if it cannot be."""
    if config.initial is None:
        if config.freeze_backbone:
            raise UsageError(
                "freeze_backbone keeps trained weights as they are: name the run that has them with initial=RUN."
            )
        return None
    initial = find(config.initial, runs)
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
    return initial


def _freeze_backbone(model: keras.Model, config: TrainConfig) -> None:
    for layer in model.layers:
        layer.trainable = layer.name.startswith(HEAD)
    if not model.trainable_weights:
        raise UsageError(f"freeze_backbone: {config.model} has no weights in its head, so nothing is left to train.")


def make_optimizer(config: OptimizerConfig, steps: int, epochs: int) -> keras.optimizers.Optimizer:
    """The optimizer with its learning rate schedule over `steps` steps: linear warm-up, then a half cosine to zero."""
    warmup = min(round(config.warmup_epochs * steps / epochs), steps - 1)
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
    step, validate = make_step(model, plan.config.data.batch_size), _make_validation(model, plan)
    run.write_history(progress.history)
    saved = time.monotonic()
    for batch, seconds in _timed(_arriving(plan, progress.step, stopping)):
        sums = step(batch)
        progress.step += 1
        progress.loss_sum += float(sums.loss)
        progress.correct += int(sums.correct)
        progress.examples += len(batch["label"])
        progress.seconds += seconds()
        observer.step(progress)
        epochs = plan.epochs(progress.step)
        ends_epoch = epochs > progress.epoch
        if ends_epoch:
            _end_epoch(epochs, model, progress, validate)
            observer.epoch(progress.history[-1])
        if ends_epoch or stopping() or time.monotonic() - saved > plan.config.checkpoint_seconds:
            run.save_checkpoint(model, progress)
            run.write_history(progress.history)
            saved = time.monotonic()
        if stopping():
            break
    if stopping() and progress.step < plan.steps:
        raise KeyboardInterrupt
    if progress.examples:  # a worker of a tf.data service died, and took the last batches with it
        _end_epoch(plan.config.epochs, model, progress, validate)
        observer.epoch(progress.history[-1])
        run.write_history(progress.history)


def _arriving(plan: _Plan, first_step: int, stopping: Callable[[], bool]) -> Iterator[Batch]:
    batches = dataset.reading(_batches(plan, first_step))
    return batches if plan.loading.service is None else data_service.waiting(batches, stopping)


def _batches(plan: _Plan, first_step: int) -> tf.data.Dataset:
    return dataset.for_training(
        plan.learning,
        plan.config,
        plan.input_shape,
        len(plan.class_names),
        first_step=first_step,
        cache=plan.loading.cache,
        service=plan.loading.service,
    )


def _timed(batches: Iterator[dict[str, tf.Tensor]]) -> Iterator[tuple[dict[str, tf.Tensor], Callable[[], float]]]:
    """Each batch with a clock that began before the batch was asked for."""
    while True:
        begin = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, lambda begin=begin: time.monotonic() - begin  # type: ignore[misc]


def make_step(model: keras.Model, batch_size: int) -> Step:
    """One optimizer step on a batch as `dataset.for_training` has them -> sum of losses, number of correct answers.

    The last batch of all is often smaller; a graph for that one alone would take longer to make than the step takes without.
    """
    # Known before tracing: a variable that comes to be inside a traced function cannot be saved.
    model.optimizer.build(model.trainable_variables)

    def step(batch: Batch) -> _Sums:
        with tf.GradientTape() as tape:
            logits, *auxiliary = keras.tree.flatten(model(batch["image"], training=True))
            losses = _losses(batch, logits)
            loss = _weighted_mean(losses, batch)
            for others in auxiliary:
                loss += AUXILIARY_WEIGHT * _weighted_mean(_losses(batch, others), batch)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return _Sums(tf.reduce_sum(losses), _count_correct(batch["label"], logits))

    traced: Step = tf.function(step, autograph=False)
    return lambda batch: (traced if len(batch["label"]) == batch_size else step)(batch)


def _losses(batch: Batch, logits: tf.Tensor) -> tf.Tensor:
    """(B,) cross-entropies to the mixed or smoothed targets if the batch has them, else to the labels."""
    if "target" in batch:
        return keras.losses.categorical_crossentropy(batch["target"], logits, from_logits=True)
    return keras.losses.sparse_categorical_crossentropy(batch["label"], logits, from_logits=True)


def _weighted_mean(losses: tf.Tensor, batch: Batch) -> tf.Tensor:
    return tf.reduce_sum(batch["weight"] * losses) / tf.reduce_sum(batch["weight"])


def _count_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(tf.equal(labels, tf.argmax(logits, axis=-1)))


def _end_epoch(epoch: int, model: keras.Model, progress: Progress, validate: Validation) -> None:
    """Moves the epoch's sums into a row of the history."""
    row = {
        "epoch": epoch,
        "loss": progress.loss_sum / progress.examples,
        "accuracy": progress.correct / progress.examples,
        "learning_rate": float(model.optimizer.learning_rate),
        "seconds": progress.seconds,
        "examples_per_second": progress.examples / progress.seconds,
    }
    progress.history.append(row | validate())
    progress.loss_sum, progress.correct, progress.examples, progress.seconds = 0.0, 0, 0, 0.0


def _make_validation(model: keras.Model, plan: _Plan) -> Validation:
    """Loss and accuracy on the validation examples as they are when it is called; nothing if there are none."""
    split = plan.validation
    if not len(split):
        return dict
    batches = dataset.for_evaluation(split, plan.config.data, plan.input_shape, cache=plan.loading.cache)
    labels, infer = tf.constant(split.labels), make_inference(main_model(model))

    def validate() -> dict[str, float]:
        logits = predict_logits(infer, batches)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        correct = int(_count_correct(labels, logits))
        return {"validation_loss": float(tf.reduce_mean(losses)), "validation_accuracy": correct / len(split)}

    return validate


def make_inference(model: keras.Model) -> Inference:
    """Pictures, uint8 (B, H, W, C), -> logits, with the model's weights as they are then; traced once."""
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    infer: Inference = tf.function(
        lambda images: model(images, training=False), input_signature=[spec], autograph=False
    )
    return infer


def predict_logits(infer: Inference, batches: tf.data.Dataset) -> tf.Tensor:
    """(N, classes) logits of all examples of batches as `dataset.for_evaluation` has them, in order."""
    return tf.concat([infer(batch["image"]) for batch in dataset.reading(batches)], axis=0)


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.train)
