"""`cnn-tf predict --output`: each picture once in a file that stays whole, whatever happens."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from clients import serving
from PIL import Image
from pyarrow import parquet
from rich.console import Console
from support import CLASS_NAMES, call_cli, cli, pictures, until

from pipelines import endpoints
from serving import wire
from serving.client import PredictClient, saving
from serving.client import pictures as files
from serving.client.lines import Lines
from serving.client.progress import shown
from serving.wire import messages_pb2 as pb

SUFFIXES = ("csv", "jsonl", "parquet")


@pytest.fixture
def photos(tmp_path):
    """A folder of folders with 12 good pictures, and one that is none; the good ones' classes by their paths."""
    images, labels = pictures(12, seed=9)
    for number, image in enumerate(images):
        folder = tmp_path / "photos" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze(-1)).save(folder / f"{number}.PNG")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "note.txt").write_text("no picture either")
    return {f"photos/{number % 3}/{number}.PNG": CLASS_NAMES[label] for number, label in enumerate(labels)}


@pytest.fixture
def predict(server, tmp_path):
    def run(*arguments):
        return call_cli("predict", "--server", server.grpc_address, "--model", "patterns", *arguments, cwd=tmp_path)

    return run


def rows(path):
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


def failed(path):
    return rows(path.with_name(f"{path.name}.failures.csv"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_picture_is_in_the_output_or_in_the_failures(predict, photos, tmp_path, suffix):
    result = predict("photos", "--output", f"answers.{suffix}", "--batch-size", 4)
    assert result.returncode == 1
    assert "12 pictures in answers" in result.stderr
    found = rows(tmp_path / f"answers.{suffix}")
    assert {row["file"]: row["class"] for row in found} == photos
    assert len(found) == 12
    assert all(1 / 3 < float(row["probability"]) <= 1 for row in found)
    assert {(row["model"], int(row["version"])) for row in found} == {("patterns", 1)}
    if suffix != "csv":
        assert all(row["top"][0] == {"class": row["class"], "probability": row["probability"]} for row in found)
    (failure,) = failed(tmp_path / f"answers.{suffix}")
    assert failure["file"] == "photos/bad.jpg"
    assert "the model refuses it" in failure["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"answers.{suffix}",
        f"answers.{suffix}.failures.csv",
        "photos",
    ]


class Lenient:
    """Answers as a model from cnn-tf export --lenient; keeps which signature was asked about how many pictures."""

    def __init__(self):
        self.asked, found = [], pb.SignatureDefMap()
        for name, outputs in files.SIGNATURES.items():
            signature = found.signature_def[name]
            signature.inputs[files.INPUT].dtype = pb.DT_STRING
            signature.inputs[files.INPUT].tensor_shape.dim.add(size=-1)
            for output in outputs:
                signature.outputs[output].dtype = pb.DT_STRING
        response = pb.GetModelMetadataResponse()
        response.metadata["signature_def"].value = found.SerializeToString()
        self.metadata = response.SerializeToString()

    def __call__(self, request, context):
        asked = pb.PredictRequest.FromString(request)
        pictures = wire.to_array(asked.inputs[files.INPUT])
        self.asked.append((asked.model_spec.signature_name, len(pictures)))
        problem = [b"is no JPEG" if picture == b"no picture" else b"" for picture in pictures]
        response = pb.PredictResponse()
        for name, array in {
            "top_labels": np.array([[b"dark"]] * len(pictures), object),
            "top_scores": np.array([[0.5]] * len(pictures), np.float32),
            "valid": np.array([not text for text in problem]),
            "problem": np.array(problem, object),
        }.items():
            wire.fill(response.outputs[name], array)
        return response.SerializeToString()


def test_a_bad_picture_costs_a_lenient_model_no_second_request(photos, tmp_path):
    answer = Lenient()
    with serving(answer, answer.metadata) as address:
        result = call_cli("predict", "--server", address, "photos", "--output", "a.csv", cwd=tmp_path)
    assert result.returncode == 1
    assert {row["file"] for row in rows(tmp_path / "a.csv")} == set(photos)
    assert [row["reason"] for row in failed(tmp_path / "a.csv")] == ["the model refuses it: it is no JPEG"]
    assert answer.asked == [(endpoints.LENIENT, 13)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_command_does_what_is_new(predict, photos, tmp_path, suffix):
    output = tmp_path / f"answers.{suffix}"
    assert predict("photos", "--output", output).returncode == 1
    before = rows(output)
    assert "(all done before)" in predict("photos", "--output", output).stderr
    assert rows(output) == before
    (tmp_path / "photos" / "0" / "0.PNG").rename(tmp_path / "photos" / "new.png")
    assert "1 picture would be sent, 13 are done." in predict("photos", "--output", output, "--dry-run").stdout
    predict("photos", "--output", output)
    assert rows(output)[:12] == before
    assert [row["file"] for row in rows(output)[12:]] == ["photos/new.png"]
    assert len(failed(output)) == 1


def test_a_picture_that_two_paths_name_is_sent_once(predict, photos, tmp_path):
    assert predict("photos", "photos/1", "photos/1/1.PNG", "photos/*/*.PNG", "--output", "a.csv").returncode == 1
    assert Counter(row["file"] for row in rows(tmp_path / "a.csv")) == Counter(photos.keys())


def test_all_is_well_without_failures(predict, photos, tmp_path):
    assert predict("photos/0", "--output", "a.jsonl", "--failures", "f.jsonl").returncode == 0
    assert not (tmp_path / "f.jsonl").exists()
    assert predict("photos", "--output", "a.jsonl", "--failures", "f.jsonl").returncode == 1
    assert [row["file"] for row in rows(tmp_path / "f.jsonl")] == ["photos/bad.jpg"]


def test_a_dry_run_writes_nothing_and_asks_nobody(photos, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for output in ([], ["--output", "a.parquet"], ["--output", "a.csv"]):
        result = call_cli("predict", "--server", "127.0.0.1:1", "photos", "--dry-run", *output, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, "13 pictures would be sent.\n")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--output", "answers.txt"], "--output ends in .csv, .jsonl, .parquet. Received: 'answers.txt'."),
        (["--output", "a.csv", "--failures", "b.parquet"], "--failures ends in .csv or .jsonl."),
        (["--failures", "b.csv"], "--failures goes with --output."),
        (["--output", "a.csv", "--failures", "./a.csv"], "--failures and --output are two files."),
        (["--output", "a.csv", "--json"], "Pass one of --json, --csv and --output."),
        (
            ["--output", "mine.csv"],
            "mine.csv is no output of this command: expected a file that begins with 'file,class",
        ),
        (["--output", "mine.jsonl"], "mine.jsonl is no output of this command"),
        (["--output", "mine.parquet"], "mine.parquet is no Parquet file"),
        (["--output", "others.parquet"], "others.parquet is no output of this command: expected the columns file, "),
        (["--output", "broken.csv"], "broken.csv has a row that is none of this command's: b'half,a,row"),
        (["--output", "model.csv"], "model.csv is of the model other. Pass another file for patterns"),
    ],
)
def test_what_cannot_be_written_is_told_and_left_alone(predict, photos, tmp_path, arguments, text):
    header = "file,class,probability,model,version\n"
    for name, content in {
        "mine.csv": "name,price\n",
        "mine.jsonl": '{"name',
        "mine.parquet": "PAR1",
        "broken.csv": f"{header}half,a,row\n",
        "model.csv": f"{header}photos/bad.jpg,dark,1,other,1\n",
    }.items():
        (tmp_path / name).write_text(content)
    parquet.write_table(pa.table({"file": ["a"]}), tmp_path / "others.parquet")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    result = predict("photos", *arguments)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1), result.stderr
    assert text in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_two_at_once_do_not_write_to_one_file(predict, photos, tmp_path):
    with saving.output(tmp_path / "a.csv") as other:
        other.open()
        result = predict("photos", "--output", "a.csv")
    assert result.returncode == 2
    assert "Another process writes to a.csv." in result.stderr


@pytest.mark.parametrize(
    ("suffix", "asked", "code"),
    [
        ("csv", signal.SIGKILL, -9),
        ("parquet", signal.SIGKILL, -9),
        ("jsonl", signal.SIGINT, 130),
        ("csv", signal.SIGTERM, 130),
    ],
)
def test_the_same_command_goes_on_after_a_stop(server, predict, tmp_path, suffix, asked, code):
    image = pictures(1, seed=1)[0][0].squeeze(-1)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "0.png")
    for number in range(1, 1500):
        os.link(tmp_path / "photos" / "0.png", tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "0.png").unlink()
    (tmp_path / "photos" / "0.png").write_bytes(b"no picture")
    output = tmp_path / f"answers.{suffix}"
    growing = tmp_path / "answers.parquet.unfinished.jsonl" if suffix == "parquet" else output
    command = cli("predict", "--server", server.grpc_address, "--model", "patterns", "photos", "--output", output)
    slowly = [*command, "--batch-size=1", "--in-flight=1"]
    with subprocess.Popen(slowly, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: growing.exists() and growing.stat().st_size > 1000, timeout=30)
        process.send_signal(asked)
        told = process.stderr.read()
    assert process.returncode == code
    if code == 130:
        assert told == "Interrupted. Nothing is half-written; the same command goes on from what is there.\n"
    assert 0 < growing.read_bytes().count(b"\n") < 1400
    if suffix == "parquet":
        assert not output.exists()
    assert predict("photos", "--output", output).returncode == 1
    names = [row["file"] for row in [*rows(output), *failed(output)]]
    assert sorted(names) == sorted(f"photos/{number}.png" for number in range(1500))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_half_a_row_is_cut_off_wherever_it_ends(tmp_path, suffix):
    names = ['a"b', "a\nb", "a\r", "ü,", "", "plain"]
    path = tmp_path / f"rows.{suffix}"

    def written():
        with Lines(path, ("file", "reason")) as lines:
            return [row["file"] for row in lines.rows()]

    with Lines(path, ("file", "reason")) as lines:
        ends = []
        for name in names:
            lines.append({"file": name, "reason": name})
            ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        done = sum(each <= end for each in ends)
        assert written() == names[:done]
        with Lines(path, ("file", "reason")) as lines:
            for name in names[done:]:
                lines.append({"file": name, "reason": name})
        assert path.read_bytes() == whole


def test_a_kill_between_the_parquet_file_and_the_end_of_its_rows_doubles_nothing(tmp_path):
    answer = files.Answer(tmp_path / "a.png", [files.Score("dark", 1.0)], 1).row() | {"model": "m"}
    path = tmp_path / "a.parquet"
    with saving.output(path) as output:
        output.append(answer)
        unfinished = tmp_path / "a.parquet.unfinished.jsonl"
        kept = unfinished.read_bytes()
        output.finish()
    assert not unfinished.exists()
    unfinished.write_bytes(kept)
    with saving.output(path) as output:
        assert [row["file"] for row in output.rows()] == [answer["file"]]
        output.append({**answer, "file": "b.png"})
        output.finish()
    assert [row["file"] for row in rows(path)] == [answer["file"], "b.png"]


def test_names_of_any_bytes(predict, photos, tmp_path):
    source = (tmp_path / "photos" / "0" / "0.PNG").read_bytes()
    (tmp_path / "odd").mkdir()
    for name in (b'\xff,".png', b"\n\r.png"):
        with open(os.path.join(os.fsencode(tmp_path / "odd"), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(source)
    for suffix in SUFFIXES:
        output = tmp_path / f"a.{suffix}"
        assert predict("odd", "--output", output).returncode == 0
        assert sorted(row["file"] for row in rows(output)) == ["odd/\n\r.png", 'odd/\\xff,".png']
        assert "all done" in predict("odd", "--output", output).stderr


def test_a_folder_is_walked_no_further_than_is_needed(tmp_path, monkeypatch):
    for number in range(50):
        (tmp_path / f"{number}.png").touch()
    looked = []
    real = files.name_of
    monkeypatch.setattr(files, "name_of", lambda path: looked.append(path) or real(path))
    with saving.output(tmp_path / "a.csv") as output, saving.failures(tmp_path / "f.csv") as failures:
        job = saving.Job([str(tmp_path)], "m", output, failures)
        assert len(list(itertools.islice(job.todo(), 3))) == 3
    assert len(looked) == 3


@pytest.mark.parametrize(
    ("module", "ours", "arguments"),
    [
        ("PIL", "serving.client.scaling", ["--send-size", 224]),
        ("pyarrow", "serving.client.parquet", ["--output", "a.parquet"]),
    ],
)
def test_what_is_not_installed_is_needed_only_where_it_is_used(predict, photos, monkeypatch, module, ours, arguments):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, ours, raising=False)
    assert predict("photos/0", "--output", "a.csv").returncode == 0
    result = predict("photos/0", *arguments)
    assert result.returncode == 1
    assert (
        f"{module} is not installed. To install what this needs, in the checkout: pip install '.[bulk]'"
        in result.stderr
    )


def test_larger_pictures_are_sent_smaller(predict, photos, tmp_path, monkeypatch):
    sent = []
    real = PredictClient.map

    def spy(client, given, *, read, **options):
        return real(client, given, read=lambda path: sent.append(read(path)) or sent[-1], **options)

    monkeypatch.setattr(PredictClient, "map", spy)
    assert predict("photos/0", "--output", "a.csv", "--send-size", 14).returncode == 0
    assert {Image.open(io.BytesIO(each)).size for each in sent} == {(14, 14)}
    assert {row["file"] for row in rows(tmp_path / "a.csv")} == {path for path in photos if path.startswith("photos/0")}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_told_on_a_terminal_only(is_terminal):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=100, _environ={})

    def items():
        yield from range(3)
        until(lambda: not is_terminal or "3/3" in stream.getvalue(), timeout=20)

    assert list(shown(items(), console, lambda: 3)) == [0, 1, 2]
    assert ("pictures/s" in stream.getvalue()) == bool(stream.getvalue()) == is_terminal
