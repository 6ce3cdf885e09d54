"""Turns published weights into a run folder, to evaluate, fine-tune, export: `python -m pipelines.import_weights FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

import cnn_tf
from cnn_tf import weights
from pipelines import checksums, files
from pipelines.config import TrainConfig
from pipelines.errors import UsageError
from pipelines.runs import Run
from pipelines.train import main_model

Shape = tuple[int, int, int]


def import_weights(
    run: Run, file: Path, config: TrainConfig, input_shape: Shape | None, class_names: Sequence[str] | None
) -> list[str]:
    """Makes `run` of the weights in `file`; returns the layers that are new, since the file's are for other classes.

    config: its model, network, data source and seed count. input_shape: (H, W, C), None for the paper's; class_names: None for
    "class 0" and so on, as many as the file has.

    Raises UsageError for a run that is there, cnn_tf.errors.NetworkError for weights that do not fit.
    """
    if run.folder.exists():
        raise UsageError(
            f"The run {run.folder} is there already. Give this one a name of its own with --name, or delete it."
        )
    keras.utils.set_random_seed(config.seed)
    changes = config.network.model_dump()
    published = weights.load(config.model, file, **changes)
    names = class_names or [f"class {index}" for index in range(weights.num_classes(published))]
    if input_shape in (None, published.input_shape[1:]) and len(names) == weights.num_classes(published):
        model = published
        new_layers: list[str] = []
    else:
        model = cnn_tf.build(config.model, input_shape or published.input_shape[1:], len(names), **changes)
        new_layers = weights.transfer(published, model)
    with files.folder_aside(run.folder) as folder:
        aside = Run(folder)
        aside.begin(config, weights=f"{file.name}, SHA-256 {checksums.sha256(file)}")
        aside.write_class_names(names)
        aside.save_model(main_model(model))
    return new_layers


if __name__ == "__main__":
    from pipelines import commands

    commands.run_stage(commands.import_weights)
