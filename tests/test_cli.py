"""The command line as a user meets it: exit codes, one line for a mistake; real processes wherever work is done."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import CLASS_NAMES, call_cli, cli, pictures, run_cli

from cnn_tf.cli import COMMANDS, GROUPS
from pipelines.interrupt import asked_to_stop


@pytest.fixture
def photos(tmp_path):
    """A folder of three PNG files, and their classes' names."""
    images, labels = pictures(3, seed=9)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.squeeze(-1)).save(folder / f"{number}.png")
    return folder, [CLASS_NAMES[label] for label in labels]


def predict(server, workplace, *arguments):
    return run_cli("predict", "--server", server.grpc_address, "--model", "patterns", *arguments, cwd=workplace)


def one_line(result, code):
    """The error of a command that failed as it should."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_predict_writes_a_table(server, workplace, photos):
    folder, labels = photos
    result = predict(server, workplace, folder)
    assert result.returncode == 0, result.stderr
    assert all(label in result.stdout for label in labels)
    assert "0.png" in result.stdout


def test_predict_writes_json_and_csv(server, workplace, photos):
    folder, labels = photos
    rows = json.loads(predict(server, workplace, "--json", folder).stdout)
    assert [row["class"] for row in rows] == labels
    assert all(0 < row["probability"] <= 1 and row["version"] == 1 for row in rows)
    table = list(csv.DictReader(io.StringIO(predict(server, workplace, "--csv", f"{folder}/*.png").stdout)))
    assert [row["class"] for row in table] == labels


def test_a_corrupt_picture_is_named_and_fails_no_other(server, workplace, photos):
    folder, labels = photos
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    result = predict(server, workplace, "--json", folder)
    assert result.returncode == 1
    rows = json.loads(result.stdout)
    assert [row.get("class") for row in rows] == [labels[0], None, labels[2]]
    assert "refuses" in rows[1]["error"]
    assert "1.png: the model refuses it" in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("path", "text"),
    [("nowhere.png", "No such file, folder or pattern: nowhere.png."), ("empty", "No pictures in the folder")],
)
def test_paths_without_pictures_are_told(server, workplace, tmp_path, path, text):
    (tmp_path / "empty").mkdir()
    assert text in one_line(predict(server, workplace, tmp_path / path if path == "empty" else path), 2)


def test_an_unknown_model_or_server_is_told(server, workplace, photos):
    folder, _ = photos
    unknown = run_cli("predict", "--server", server.grpc_address, "--model", "none", folder, cwd=workplace)
    assert "Servable not found for request: Latest(none)" in one_line(unknown, 1)
    nobody = run_cli("predict", "--server", "127.0.0.1:1", folder, cwd=workplace)
    assert "No server answers at 127.0.0.1:1" in one_line(nobody, 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["prepare", "mnst"], "There is no file or folder 'mnst', and no data set of that name."),
        (["train", "nothing"], "Unknown preset 'nothing'"),
        (
            ["train", "-s", "model=lenet_5", "-s", "data.validation_examples=0", "--name", "x"],
            "Unknown model 'lenet_5'. Did you mean 'lenet5'? Expected one of: alexnet, ",
        ),
        (["train", "-s", "epoch=3"], "Unknown key 'epoch'. Did you mean 'epochs'?"),
        (
            ["train", "-s", "data.source=cifar", "--name", "x"],
            "There is no data set 'cifar' in data.",
        ),
        (["train", "--name", "patterns"], "begun with other settings"),
        (["evaluate", "nothing"], "The run runs/nothing does not exist"),
        (["export", "nothing"], "The run runs/nothing does not exist"),
        (["export", "patterns", "--version", "1"], "already exists: versions are never overwritten. Pass --version 2"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(workplace, arguments, text):
    result = call_cli(*arguments, cwd=workplace)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert text in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "--data", "file"],
        ["train", "--runs", "file"],
        ["export", "patterns", "--models", "file"],
        ["predict", "--server", "localhost", "file"],
        ["predict", "--server", "localhost:99999", "file"],
        ["predict", "--server", "http://localhost:8500", "file"],
        ["predict", "--server", "", "file"],
        ["train", "--name", "../x"],
        ["train", "--name", ""],
        ["train", "my.yaml"],
        ["export", "patterns", "--version", str(2**63)],
    ],
)
def test_wrong_places_and_names_are_wrong_use(workplace, arguments):
    (workplace / "file").touch()
    result = call_cli(*arguments, cwd=workplace)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.skipif(not Path("/proc/sys").exists(), reason="needs a folder in which not even root may make one")
def test_a_place_that_cannot_be_written_is_told_in_one_line(workplace, tmp_path):
    (tmp_path / "runs").symlink_to("/proc/sys")
    result = call_cli("train", "-s", "data.validation_examples=0", "--runs", tmp_path / "runs", cwd=workplace)
    line = one_line(result, 1)
    assert "Check the path, its permissions and the space left." in line


def test_damaged_files_of_a_run_are_named_with_the_way_out(workplace, tmp_path):
    shutil.copytree(workplace / "runs" / "patterns", tmp_path / "r")
    (tmp_path / "r" / "model.keras").write_bytes(b"PK half")
    line = one_line(call_cli("evaluate", tmp_path / "r", cwd=workplace), 1)
    assert f"{tmp_path / 'r' / 'model.keras'} is damaged. Delete {tmp_path / 'r'} and train again." in line


def test_a_reader_that_has_enough_is_no_error(server, workplace, photos):
    command = cli("predict", "--server", server.grpc_address, "--model", "patterns", "--csv", *[photos[0]] * 2000)
    with subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_names_that_look_like_markup_are_shown_as_they_are(server, workplace, photos):
    folder, _ = photos
    (folder / "0.png").rename(folder / "[red]:smile:\x1b[31m.png")
    result = predict(server, workplace, folder)
    assert "[red]:smile:\N{REPLACEMENT CHARACTER}[31m.png" in result.stdout


def test_debug_shows_the_traceback(workplace):
    result = run_cli("train", "nothing", "--debug", cwd=workplace)
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_print_config_is_a_config_file(workplace, tmp_path):
    printed = call_cli("train", "--print-config", "-s", "seed=7", cwd=workplace).stdout
    (tmp_path / "config.yaml").write_text(printed)
    again = call_cli("train", "--print-config", "--config", tmp_path / "config.yaml", cwd=workplace)
    assert (again.stdout, "seed: 7" in printed) == (printed, True)


def test_models_lists_the_architectures(workplace):
    rows = json.loads(call_cli("models", "--json", cwd=workplace).stdout)
    parameters = {row["name"]: row["parameters_10"] for row in rows}
    assert (parameters["lenet5"], parameters["lenet5_bn"], len(parameters)) == (61_706, 44_878, 51)


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS])
def test_every_command_has_help_with_an_example(workplace, command):
    result = call_cli(*command.split(), "--help", cwd=workplace)
    assert result.returncode == 0
    assert "example" in result.stdout.lower()


@pytest.mark.parametrize("stage", ["prepare", "export"])
def test_every_stage_is_a_module_too(workplace, stage):
    command = [sys.executable, "-m", f"pipelines.{stage}", "nothing"]
    result = subprocess.run(command, cwd=workplace, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "nothing" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_are_a_wish_and_the_second_time_an_order(asked):
    with asked_to_stop() as stopping:
        assert not stopping()
        signal.raise_signal(asked)
        assert stopping()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(asked)


def test_a_training_that_is_asked_to_stop_ends_in_order(workplace, tmp_path):
    command = cli("train", "--runs", tmp_path, "--name", "x", "-s", "epochs=1000", "-s", "data.validation_examples=0")
    with subprocess.Popen(command, cwd=workplace, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "epoch" in line and "loss" in line:
                process.terminate()
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Interrupted. Nothing is half-written" in rest
    assert "Traceback" not in rest
    assert not list(tmp_path.rglob(".aside-*"))
