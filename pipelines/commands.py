"""The stages as commands. TensorFlow is imported only when one runs, so help and wrong use answer at once."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cnn_tf import console
from cnn_tf.quiet import import_tensorflow
from pipelines import data_commands
from pipelines.data_commands import DataFolder

if TYPE_CHECKING:
    from pipelines.manifest import DataSet
    from pipelines.runs import Run
    from pipelines.worth import Worth

RunsFolder = Annotated[Path, typer.Option("--runs", file_okay=False, help="Folder of run folders.")]
ModelsFolder = Annotated[Path, typer.Option("--models", file_okay=False, help="Folder of exported models.")]


class CachePlace(str, enum.Enum):
    """Where decoded pictures are kept."""

    AUTO = "auto"
    MEMORY = "memory"
    DISK = "disk"
    NONE = "none"


class Form(str, enum.Enum):
    """What an exported network is made, see `optimization.VARIANTS`."""

    FLOAT32 = "float32"
    FOLDED = "folded"
    FROZEN = "frozen"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, or the path of its folder.")]


def train(
    preset: Annotated[str, typer.Argument(help="Named experiment to start from.")] = "fashion_mnist",
    config: Annotated[Path | None, typer.Option(help="YAML or TOML file whose values change the preset's.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one value; may be given many times."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run (default: that of --dataset, else the preset's).")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the effective values and stop.")] = False,
    source: Annotated[
        str | None,
        typer.Option("--dataset", metavar="DATASET", help="Data set to train on: short for -s data.source=..."),
    ] = None,
    cache: Annotated[
        CachePlace, typer.Option(help="Where decoded pictures are kept; auto: in memory if they fit --cache-mib.")
    ] = CachePlace.AUTO,
    cache_mib: Annotated[int, typer.Option("--cache-mib", min=0, help="What auto may take of memory, MiB.")] = 1024,
    service: Annotated[
        str | None,
        typer.Option("--data-service", metavar="grpc://HOST:PORT", help="tf.data service that reads and augments."),
    ] = None,
    runs: RunsFolder = Path("runs"),
    data: DataFolder = Path("data"),
) -> None:
    """Train a model into runs/NAME. A stopped training goes on from its last checkpoint with the same command.

    Example: cnn-tf train fashion_mnist -s epochs=3 -s optimizer.learning_rate=0.01 --name quick
    """
    from pipelines import config as configuration
    from pipelines import presets

    effective = configuration.resolve(
        presets.preset(preset), config, [*([f"data.source={source}"] if source else []), *(change or [])]
    )
    if print_config:
        typer.echo(effective.to_yaml(), nl=False)
        return
    from pipelines import files
    from pipelines.errors import UsageError
    from pipelines.runs import Run

    name = source or preset if name is None else name
    files.require_name("run", name)
    run = Run(runs / name)
    if run.is_complete:
        run.begin(effective)
        console.note(f"Reusing the trained model in {run.folder}")
        return
    import_tensorflow()
    from pipelines import cache as caches
    from pipelines import progress
    from pipelines import train as stage

    if effective.data.source is None:
        raise UsageError("data.source is null. Training needs a data set, such as --set data.source=fashion_mnist.")
    examples = data_commands.load(effective.data.source, data)
    kept = caches.choose(cache.value, data / effective.data.source / ".cache", console.note, cache_mib * 2**20)
    with progress.showing(console.err) as observer:
        stage.train(run, effective, examples, observer, stage.Loading(kept, service))
    console.note(f"Wrote {run.model}")


def evaluate(run: RunName = "fashion_mnist", runs: RunsFolder = Path("runs"), data: DataFolder = Path("data")) -> None:
    """Measure a trained model on the test split; write evaluation.json and report/index.html into its run folder.

    Example: cnn-tf evaluate fashion_mnist
    """
    trained, examples = _open(run, runs, data)
    from pipelines import evaluate as stage
    from pipelines.errors import UsageError

    if trained.config.data.source is None:
        raise UsageError(
            f"{trained.folder} has imported weights and no data set to be measured on. Import them with --dataset NAME, or "
            f"train further: cnn-tf train --name NAME --set initial={run} ..."
        )

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
    licence: Annotated[
        str, typer.Option(help="The model's, for its card; an SPDX expression such as Apache-2.0.")
    ] = "unspecified",
    models: ModelsFolder = Path("models"),
    runs: RunsFolder = Path("runs"),
    data: DataFolder = Path("data"),
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pixels that a picture's header may announce; above, it is not decoded.")
    ] = 178_956_970,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Add serving_bytes_lenient: one bad picture does not fail the others.")
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Add the output embeddings: the features that the classifier sees.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Scale probabilities on the validation pictures, to be right as often as they say."
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add explain: a heat map of what spoke for the best class (HiResCAM).")
    ] = False,
    optimize: Annotated[
        Form,
        typer.Option(
            help="folded: batch normalization in the layers before it; frozen: that, weights as constants; bfloat16, int8: "
            "folded, and kernels rounded to a half or a quarter of their size on disk. What it is worth is measured."
        ),
    ] = Form.FLOAT32,
    xla: Annotated[
        bool,
        typer.Option(
            "--xla",
            help="Have XLA compile the network, for each size of batch when it first comes; on CPUs often slower.",
        ),
    ] = False,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="POINTS",
            help="Refuse an optimized model that loses more percent points of accuracy.",
            show_default="1",
        ),
    ] = None,
) -> None:
    """Publish a trained model as models/NAME/VERSION for TensorFlow Serving, once it is proved to answer alike.

    Example: cnn-tf export fashion_mnist --version 3
    """
    from pipelines.errors import UsageError

    if max_accuracy_drop is not None and optimize is Form.FLOAT32 and not xla:
        raise UsageError(
            "--max-accuracy-drop goes with --optimize or --xla: nothing else changes a network's accuracy."
        )
    trained, examples = _open(run, runs, data)
    from pipelines import export as stage
    from pipelines.config import ExportConfig

    config = ExportConfig(
        max_pixels=max_pixels,
        lenient=lenient,
        embeddings=embeddings,
        calibrate=calibrate,
        explain=explain,
        licence=licence,
        optimize=optimize.value,
        xla=xla,
        **({} if max_accuracy_drop is None else {"max_accuracy_drop": max_accuracy_drop}),
    )
    model = trained.folder.resolve().name if name is None else name
    exported = stage.export(trained, examples, models, model, version, config=config)
    kind = "random" if trained.config.data.source is None else "real"
    network = "Keras model" if exported.is_exact else "Keras model with weights rounded alike"
    console.note(
        f"Checked on {exported.examples} {kind} pictures: {', '.join(exported.signatures)} answer as the {network} does "
        f"(largest difference {exported.max_difference:.1e})"
    )
    if exported.worth:
        print_worth(exported.worth, f"{optimize.value}{', XLA' if xla else ''}")
    if calibration := exported.calibration:
        console.note(
            f"Calibrated: temperature {calibration.temperature:.3f}; expected calibration error on the test split "
            f"{calibration.error_before:.2%} before, {calibration.error_after:.2%} after"
        )
    console.note(f"Published {exported.folder}")


def print_worth(worth: Worth, name: str) -> None:
    """An optimized version, called `name`, beside the float32 one."""
    from pipelines.reports.figures import percent
    from pipelines.reports.page import readable_bytes

    table = Table("", name, "float32")
    for column in table.columns[1:]:
        column.justify = "right"
    if worth.accuracy is not None and worth.float32_accuracy is not None:
        table.add_row(f"accuracy, {worth.split}", percent(worth.accuracy, 2), percent(worth.float32_accuracy, 2))
    table.add_row("weights", readable_bytes(worth.weight_bytes), readable_bytes(worth.float32_weight_bytes))
    table.add_row("one picture", f"{worth.ms:.2f} ms", f"{worth.float32_ms:.2f} ms")
    if worth.folded_layers is not None:
        table.add_row("batch normalizations folded", str(worth.folded_layers or "there are none"), "")
    console.out.print(table)
    console.out.print(
        f"Takes {worth.time_ratio:.2f} times as long on this CPU in the median turn; probabilities differ by at most "
        f"{worth.max_difference:.2g} on {worth.examples:,} pictures"
    )


def import_weights(
    file: Annotated[
        Path, typer.Argument(help="Weights: .safetensors, .pth (needs torch), or .h5 of keras.applications.")
    ],
    model: Annotated[str, typer.Option(help="Architecture; `cnn-tf models` lists them.")],
    name: Annotated[str | None, typer.Option(help="Name of the run (default: the file's).")] = None,
    size: Annotated[
        str | None, typer.Option("--input", metavar="HxWxC", help="Pictures (default: the paper's).")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes; another than the file's gets a new classifier.")
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option("--class-names", help="Text file with a class name a line (default: class 0, class 1, ...)."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--dataset", help="Data set that gives size of pictures and classes instead.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one value, such as network.scaling=unit."),
    ] = None,
    runs: RunsFolder = Path("runs"),
    data: DataFolder = Path("data"),
) -> None:
    """Make a run folder of weights from torchvision, timm or keras.applications; evaluate, fine-tune or export it.

    Example: cnn-tf import-weights resnet18.safetensors --model resnet18 --dataset fashion_mnist
    """
    from cnn_tf import naming
    from pipelines import config as configuration
    from pipelines import files
    from pipelines.errors import UsageError
    from pipelines.runs import Run

    if source is not None and (size, classes, class_names) != (None, None, None):
        raise UsageError(
            "--dataset gives the size of pictures and the classes. Leave out --input, --classes and --class-names."
        )
    files.require_name("run", name := file.name.partition(".")[0] if name is None else name)
    _require_file(file)
    shape = None if size is None else naming.parse_shape(size)
    names = _class_names(classes, class_names)
    import_tensorflow()
    from cnn_tf import weights
    from pipelines import import_weights as stage

    if source is not None:
        examples = data_commands.load(source, data)
        shape, names = _input_shape(model, source, examples), examples.class_names
    base = configuration.validate(
        {"model": model, "data": {"source": source}, "network": weights.published_options(model, file)}
    )
    effective = configuration.resolve(base, None, change or [])
    if effective.model_copy(update={"network": base.network, "seed": base.seed}) != base:
        raise UsageError("Only seed and the keys of network can be set here, such as --set network.scaling=unit.")
    run = Run(runs / name)
    new_layers = stage.import_weights(run, file, effective, shape, names)
    if new_layers:
        console.note(f"New, so to be trained: {', '.join(new_layers)} (the file is for other classes)")
    console.note(f"Wrote {run.model}")


def _input_shape(model: str, source: str, examples: DataSet) -> tuple[int, int, int]:
    from pipelines import config as configuration
    from pipelines import train as stage

    return stage.input_shape(configuration.validate({"model": model, "data": {"source": source}}), examples)


def _require_file(path: Path) -> None:
    from pipelines.errors import UsageError

    if not path.is_file():
        raise UsageError(
            f"Expected a file. Received: {path}, which {'is a folder' if path.is_dir() else 'is not there'}."
        )


def _class_names(count: int | None, file: Path | None) -> list[str] | None:
    """From a file with one a line, or made up; None if neither tells. Raises UsageError for names that cannot be."""
    from pipelines.errors import UsageError

    if file is None:
        return None if count is None else [f"class {index}" for index in range(count)]
    _require_file(file)
    try:
        names = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{file} must be a text file in UTF-8.") from None
    if not names or count not in (None, len(names)):
        raise UsageError(
            f"{file} must have {count or 'some'} lines, a class name in each. Received: {len(names)} lines."
        )
    for line, name in enumerate(names, start=1):
        if not name.strip() or name in names[: line - 1]:
            raise UsageError(f"{file} must have another class name in each line. Received in line {line}: {name!r}.")
    return names


def _open(run: str, runs: Path, data: Path) -> tuple[Run, DataSet]:
    """A complete run and the data set it was trained on."""
    from pipelines.runs import find

    trained = find(run, runs)
    trained.require_complete()
    import_tensorflow()
    return trained, _examples_of(trained, data)


def _examples_of(run: Run, data: Path) -> DataSet:
    """The data set that a run's configuration names, or noise where it names none."""
    if (source := run.config.data.source) is not None:
        return data_commands.load(source, data)
    from pipelines import manifest
    from pipelines.train import load_model

    return manifest.random_pictures(run.folder.name, run.class_names, load_model(run.model).input_shape[1:])


def run_stage(command: Callable[..., None]) -> None:
    """`python -m pipelines.STAGE`: the same as `cnn-tf STAGE`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(console.reporting_errors(command))
    app()
