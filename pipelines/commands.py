"""The stages as commands. TensorFlow is imported only when one runs, so help and wrong use answer at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cnn_tf import console
from cnn_tf.quiet import import_tensorflow

if TYPE_CHECKING:
    from pipelines.runs import Run
    from pipelines.sources import DataSet

DataFolder = Annotated[Path, typer.Option("--data", file_okay=False, help="Folder of prepared data sets.")]
RunsFolder = Annotated[Path, typer.Option("--runs", file_okay=False, help="Folder of run folders.")]
ModelsFolder = Annotated[Path, typer.Option("--models", file_okay=False, help="Folder of exported models.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")]


def prepare(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the data set.")] = "fashion_mnist",
    data: DataFolder = Path("data"),
) -> None:
    """Get a data set and write it to data/DATASET, ready for training.

    Example: cnn-tf prepare fashion_mnist
    """
    from pipelines import prepare as stage

    stage.prepare(name, data, console.note)


def train(
    preset: Annotated[str, typer.Argument(help="Named experiment to start from.")] = "fashion_mnist",
    config: Annotated[Path | None, typer.Option(help="YAML or TOML file whose values change the preset's.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one value; may be given many times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: the preset's).")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the effective values and stop.")] = False,
    runs: RunsFolder = Path("runs"),
    data: DataFolder = Path("data"),
) -> None:
    """Train a model into runs/NAME. A stopped training goes on from its last checkpoint with the same command.

    Example: cnn-tf train fashion_mnist -s epochs=3 -s optimizer.learning_rate=0.01 --name quick
    """
    from pipelines import config as configuration
    from pipelines import presets

    effective = configuration.resolve(presets.preset(preset), config, change or [])
    if print_config:
        typer.echo(effective.to_yaml(), nl=False)
        return
    from pipelines import files
    from pipelines.runs import Run

    files.require_name("run", preset if name is None else name)
    run = Run(runs / (preset if name is None else name))
    if run.is_complete:
        run.begin(effective)
        console.note(f"Reusing the trained model in {run.folder}")
        return
    import_tensorflow()
    from pipelines import progress
    from pipelines import train as stage

    examples = _load(effective.data.source, data)
    with progress.showing(console.err) as observer:
        stage.train(run, effective, examples, observer)
    console.note(f"Wrote {run.model}")


def evaluate(run: RunName = "fashion_mnist", runs: RunsFolder = Path("runs"), data: DataFolder = Path("data")) -> None:
    """Measure a trained model on the test split; write evaluation.json and report/index.html into its run folder.

    Example: cnn-tf evaluate fashion_mnist
    """
    trained, examples = _open(run, runs, data)
    from pipelines import evaluate as stage

    evaluation = stage.evaluate(trained, examples)
    print_evaluation(evaluation)
    console.note(f"Report: {trained.report / 'index.html'}")


def print_evaluation(evaluation: Mapping[str, Any]) -> None:
    """The per-class table and the accuracy."""
    table = Table("class", "precision", "recall", "F1", "examples")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in evaluation["per_class"]:
        shares = (f"{row[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(row["name"], *shares, f"{row['examples']:,}")
    console.out.print(table)
    console.out.print(
        f"Accuracy on {evaluation['examples']:,} {evaluation['split']} pictures: {evaluation['accuracy']:.2%}, "
        f"loss {evaluation['loss']:.3f}"
    )


def export(
    run: RunName = "fashion_mnist",
    name: Annotated[str | None, typer.Option(help="Name of the model in requests (default: the run's).")] = None,
    version: Annotated[int | None, typer.Option(help="Version number (default: the highest there + 1).")] = None,
    models: ModelsFolder = Path("models"),
    runs: RunsFolder = Path("runs"),
    data: DataFolder = Path("data"),
) -> None:
    """Publish a trained model as models/NAME/VERSION for TensorFlow Serving, once it is proved to answer alike.

    Example: cnn-tf export fashion_mnist --version 3
    """
    trained, examples = _open(run, runs, data)
    from pipelines import export as stage

    exported = stage.export(trained, examples, models, trained.folder.resolve().name if name is None else name, version)
    console.note(
        f"Checked on {exported.examples} real pictures: serving_default, serving_bytes and classify answer as the Keras model "
        f"does (largest difference {exported.max_difference:.1e})"
    )
    console.note(f"Published {exported.folder}")


def _open(run: str, runs: Path, data: Path) -> tuple[Run, DataSet]:
    """A complete run and the data set it was trained on."""
    from pipelines.runs import Run

    folder = Path(run)
    trained = Run(folder if folder.is_dir() or len(folder.parts) > 1 else runs / run)
    trained.require_complete()
    import_tensorflow()
    return trained, _load(trained.config.data.source, data)


def _load(name: str, data: Path) -> DataSet:
    """The data set `name`, prepared first if it is not there yet."""
    from pipelines import prepare as stage
    from pipelines import sources

    if not stage.is_prepared(data / name):
        stage.prepare(name, data, console.note)
    return sources.load(data / name)


def run_stage(command: Callable[..., None]) -> None:
    """`python -m pipelines.STAGE`: the same as `cnn-tf STAGE`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(console.reporting_errors(command))
    app()
