"""`cnn-tf demo`: the main job from a clean machine to served predictions, every step with the command that repeats it."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from cnn_tf import console
from cnn_tf.quiet import import_tensorflow

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipelines.manifest import Split
    from pipelines.runs import Run
    from serving.server.process import RunningServer

PRESET = "fashion_mnist"
PICTURES = 200
SHOWN = 12
LEAST_ACCURACY = 0.90


class _Answers(NamedTuple):
    """Of the model to all pictures: probabilities (N, classes), and how long each request took (N,), seconds."""

    probabilities: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]


def demo(
    data: Annotated[Path, typer.Option(help="Folder of prepared data sets.")] = Path("data"),
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    models: Annotated[Path, typer.Option(help="Folder of exported models.")] = Path("models"),
) -> None:
    """Do the whole main job: get Fashion-MNIST, train, evaluate, export, serve, ask 200 pictures over gRPC and REST.

    What is there already is reused. Example: cnn-tf demo
    """
    begin = time.monotonic()
    from pipelines import commands, data_commands
    from pipelines.runs import Run

    _title(1, "Get the pictures", "prepare fashion_mnist")
    data_commands.prepare("fashion_mnist", data=data)
    _title(2, "Train LeNet with batch normalisation", f"train {PRESET}")
    commands.train(PRESET, runs=runs, data=data)
    run = Run(runs / PRESET)
    _title(3, "Evaluate on the test pictures", f"evaluate {PRESET}")
    _evaluate(run, runs, data)
    _title(4, "Export as a SavedModel", f"export {PRESET}")
    _export(run, models, runs, data)
    _title(5, "Serve it and ask for predictions", "serve models/")
    _serve_and_ask(run, models, data)
    console.note(f"\nDone in {time.monotonic() - begin:.0f} s.")
    _say_what_next(run, models)


def _title(number: int, text: str, command: str) -> None:
    title = Text(f"\n{number}/5 {text}", style="bold").append(f"  {_program()} {command}", style="not bold dim")
    console.err.print(title, soft_wrap=True)


def _evaluate(run: Run, runs: Path, data: Path) -> None:
    from pipelines import commands

    evaluation = run.read_evaluation()
    if evaluation is None:
        commands.evaluate(PRESET, runs, data)
        return
    console.note(f"Reusing {run.evaluation}")
    commands.print_evaluation(evaluation)
    console.note(f"Report: {run.report / 'index.html'}")


def _export(run: Run, models: Path, runs: Path, data: Path) -> None:
    from pipelines import commands

    if (models / PRESET / "1").is_dir():
        console.note(f"Reusing {models / PRESET / '1'}")
        return
    commands.export(PRESET, PRESET, 1, models=models, runs=runs, data=data)


def _serve_and_ask(run: Run, models: Path, data: Path) -> None:
    import_tensorflow()
    from pipelines import manifest
    from serving.server import process

    examples = manifest.load(data / "fashion_mnist")
    split = examples.splits["test"].take(slice(PICTURES))
    encoded = _read(split)
    _write_samples(run, encoded, split, examples.class_names)
    with process.running([str(models)]) as server:
        console.note(f"Server ready. gRPC: {server.grpc_address}  REST: {server.rest_url}")
        answers = _ask_grpc(server, encoded)
        _print_predictions(answers, split, examples.class_names)
        by_rest = _ask_rest(server, encoded, run.folder / "request.json")
    console.note("Server stopped.")
    _print_summary(answers, by_rest, split)


def _read(split: Split) -> list[bytes]:
    """The files' bytes."""
    import tensorflow as tf

    read = split.storage.reader()
    return [read(tf.constant(number)).numpy() for number in range(len(split))]


def _write_samples(run: Run, encoded: list[bytes], split: Split, class_names: list[str]) -> None:
    """Ten pictures as files, to try `cnn-tf predict` with."""
    from pipelines import files

    for number, (picture, label) in enumerate(zip(encoded[:10], split.labels, strict=False)):
        name = class_names[label].lower().replace("/", "-").replace(" ", "-")
        files.write(run.folder / "pictures" / f"{number}-{name}.png", picture)


def _ask_grpc(server: RunningServer, encoded: list[bytes]) -> _Answers:
    """One request a picture, one after the other."""
    from serving.client import PredictClient

    probabilities, seconds = [], []
    with PredictClient(server.grpc_address, PRESET) as client:
        client.wait_until_ready(timeout=10)
        silent = not console.err.is_terminal
        for picture in track(encoded, "  Asking over gRPC", console=console.err, transient=True, disable=silent):
            begin = time.perf_counter()
            outputs = client.predict({"image_bytes": [picture]}, signature="serving_bytes")
            seconds.append(time.perf_counter() - begin)
            probabilities.append(outputs["probabilities"][0])
    return _Answers(np.stack(probabilities), np.array(seconds))


def _ask_rest(server: RunningServer, encoded: list[bytes], sample: Path) -> npt.NDArray[np.float32]:
    """All pictures in one request, as curl would send it; a request of one picture is kept in the file `sample`."""
    from pipelines import files

    instances = [{"b64": base64.b64encode(picture).decode()} for picture in encoded]
    files.write(sample, json.dumps({"signature_name": "serving_bytes", "instances": instances[:1]}) + "\n")
    body = json.dumps({"signature_name": "serving_bytes", "instances": instances}).encode()
    with urllib.request.urlopen(f"{server.rest_url}{PRESET}:predict", body, timeout=60) as response:
        predictions = json.load(response)["predictions"]
    return np.array([prediction["probabilities"] for prediction in predictions], dtype=np.float32)


def _print_predictions(answers: _Answers, split: Split, class_names: list[str]) -> None:
    table = Table("picture", "true class", "predicted class", "probability")
    for index in range(SHOWN):
        label, predicted = int(split.labels[index]), int(answers.probabilities[index].argmax())
        style = None if label == predicted else "red"
        share = f"{answers.probabilities[index, predicted]:.1%}"
        table.add_row(str(index), class_names[label], class_names[predicted], share, style=style)
    table.columns[0].justify = table.columns[3].justify = "right"
    console.out.print(table)
    console.out.print(f"The first {SHOWN} of {len(split)} test pictures, sent as PNG files.")


def _print_summary(answers: _Answers, by_rest: npt.NDArray[np.float32], split: Split) -> None:
    accuracy = float((answers.probabilities.argmax(axis=1) == split.labels).mean())
    p50, p99 = np.percentile(answers.seconds * 1000, (50, 99))
    difference = float(np.abs(answers.probabilities - by_rest).max())
    console.out.print(f"Accuracy over the wire: {accuracy:.1%} of {len(split)} pictures")
    console.out.print(f"Latency per picture over gRPC: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    same = int((answers.probabilities.argmax(axis=1) == by_rest.argmax(axis=1)).sum())
    console.out.print(f"REST gives the same class for {same} of {len(split)}; largest difference {difference:.1e}")
    if accuracy < LEAST_ACCURACY or difference > 1e-4:
        raise DemoFailed(
            f"Expected an accuracy of at least {LEAST_ACCURACY:.0%} over the wire, and equal answers from gRPC and REST. "
            f"Received: {accuracy:.1%}, difference {difference:.1e}. Delete runs/{PRESET} and models/{PRESET} to begin anew."
        )


class DemoFailed(Exception):
    """The main job ran, and its result is not what it should be."""

    exit_code = console.FAILED


def _program() -> str:
    """How to type this program: `cnn-tf` if it is on the path, else where it lies."""
    installed = Path(sys.executable).with_name("cnn-tf")
    if shutil.which("cnn-tf") == str(installed) or not installed.exists():
        return "cnn-tf"
    folder = Path.cwd()
    return str(installed.relative_to(folder) if installed.is_relative_to(folder) else installed)


def _say_what_next(run: Run, models: Path) -> None:
    program = _program()
    console.err.print("Next", style="bold")
    console.note(f"""\
  Look at the report:           {run.report / "index.html"}
  Serve the model:              {program} serve {models}/
  Then, in another terminal:
    classify pictures:          {program} predict --server localhost:8500 {run.folder / "pictures"}/
    ask with curl:              curl -d @{run.folder / "request.json"} http://localhost:8501/v1/models/{PRESET}:predict
  Publish the next version:     {program} export {PRESET}    (a running server switches to it by itself)
  Put it into TensorFlow Serving's container:
                                docker build -t {PRESET} .
                                docker run --rm --init -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 {PRESET}""")
