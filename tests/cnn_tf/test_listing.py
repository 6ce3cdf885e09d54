"""`cnn-tf models` and `cnn-tf describe` as a user meets them."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from support import run_cli

from cnn_tf import MODELS, cli, examination, listing, naming
from cnn_tf.errors import NetworkError
from cnn_tf.promises import PROMISES


def run(capsys, *arguments):
    """(exit code, output, errors) of `cnn-tf ARGUMENTS` in this process, as TensorFlow is there already."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_promises_are_made_for_every_model_in_its_default_form():
    defaults = {
        name: (builder.keywords["input_shape"], builder.keywords["num_classes"]) for name, builder in MODELS.items()
    }
    assert {name: (promise.input, promise.classes) for name, promise in PROMISES.items()} == defaults
    assert list(PROMISES) == list(MODELS)


def test_a_promise_has_types():
    promise = PROMISES["resnet18"]
    assert (promise.parameters, promise.parameters_10) == (11_689_512, 11_181_642)
    assert promise.stages["stage4"] == (7, 7, 512)
    assert (promise.top1, PROMISES["resnet18_d2l"].top1) == (69.758, None)
    assert "91.2 % Fashion-MNIST" in PROMISES["lenet5_bn"].measured


def test_models_needs_no_tensorflow(tmp_path):
    code = (
        "import sys; from cnn_tf import cli\n"
        "try: cli.main(['models'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'matplotlib'} & {*sys.modules}"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert {line.split()[0] for line in lines[2:] if not line.startswith(" ")} == set(PROMISES)
    (line,) = (line for line in lines if line.startswith("resnet18 "))
    assert " ".join(line.split()) == "resnet18 224x224x3, 1000 11.7 M 1.81 G 435 69.76 He et al. 2015, arXiv:1512.03385"


def test_models_as_json_is_complete(capsys):
    rows = json.loads(run(capsys, "models", "--json")[1])
    assert [row["name"] for row in rows] == list(PROMISES)
    assert {"input", "classes", "parameters", "stages", "paper", "table", "top1", "top5", "measured"} <= rows[0].keys()
    assert rows[1]["measured"] == PROMISES["lenet5_bn"].measured


@pytest.mark.parametrize(("width", "papers"), [(80, False), (120, True)])
def test_models_fits_into_a_window(width, papers):
    console = Console(file=io.StringIO(), width=width)
    console.print(listing.models_table(papers=papers))
    text = console.file.getvalue()
    assert all(name in text for name in PROMISES)
    assert ("arXiv:1512.03385" in text) == papers
    assert "…" not in text


def test_describe_tells_each_layer_and_the_sums_and_cuts_nothing_in_a_pipe(tmp_path):
    result = run_cli("describe", "lenet5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "stage2_conv Conv2D 10x10x16 2,416 240,000 14" in lines
    assert "logits Dense 10 850 840 all" in lines
    assert "trainable parameters  61,706" in result.stdout
    assert "416,520 for a picture" in result.stdout
    assert "…" not in result.stdout


def test_describe_as_json_for_other_pictures_and_classes(capsys):
    arguments = ("--input", "97x131x1", "--classes", "7", "--batch", "2", "--json")
    report = json.loads(run(capsys, "describe", "resnet18", *arguments)[1])
    assert (report["input"], report["classes"], report["batch"]) == ([97, 131, 1], 7, 2)
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["stage4_block2_relu"]["output_shape"] == [4, 5, 512]
    assert layers["stage4_block2_relu"]["receptive_field"] == 435
    assert layers["logits"]["receptive_field"] is None
    assert layers["logits"]["inputs"] == ["head_pool"]


def test_numbers_of_resnet18():
    report = examination.examine("resnet18", None, None, batch=4)
    assert (report.parameters, report.fixed, report.macs) == (11_689_512, 9_600, 1_814_073_344)
    assert report.memory.weights == 4 * (11_689_512 + 9_600)


def test_memory_is_counted_layer_by_layer():
    memory = examination.examine("lenet5", None, None, batch=1).memory
    outputs = [2 * 784, 2 * 4704, 1176, 2 * 1600, 400, 400, 2 * 120, 2 * 84, 10]
    assert memory.training == 4 * sum(outputs)
    assert (memory.inference, memory.inference_layer) == (4 * 2 * 4704, "stage1_sigmoid")
    assert examination.examine("lenet5", None, None, batch=3).memory.training == 3 * memory.training


def test_what_is_frozen_is_not_called_trainable():
    report = examination.examine("lenet5_paper", None, None, batch=1)
    assert (report.parameters, report.fixed) == (60_000, 840)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["resnet19"], ["Unknown model 'resnet19'.", "Did you mean 'resnet18'?"]),
        (["lenet5", "--input", "28x28"], ["HEIGHTxWIDTHxCHANNELS", "Received: '28x28'."]),
        (["alexnet", "--input", "20x30x3"], ["needs pictures of at least 63x63. Received: 20x30."]),
        (["lenet5", "--plot", "lenet5.gif"], ["ends in .svg or .png. Received: lenet5.gif."]),
        (["lenet5", "--plot", "nowhere/lenet5.svg"], ["in a folder that exists. Received: nowhere/lenet5.svg."]),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(capsys, arguments, texts):
    code, output, errors = run(capsys, "describe", *arguments)
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert all(text in errors for text in texts)


@pytest.mark.parametrize("command", ["models", "describe"])
def test_help_has_an_example(capsys, command):
    assert f"Example: cnn-tf {command}" in run(capsys, command, "--help")[1]


@pytest.mark.parametrize("text", ["", "224", "224x224", "224x224x3x1", "0x224x3", "-1x2x3", "224 x 224 x 3", "٣x٣x٣"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(NetworkError, match="HEIGHTxWIDTHxCHANNELS"):
        naming.parse_shape(text)


def test_shapes_are_read_and_written():
    assert naming.parse_shape("97x131x1") == (97, 131, 1)
    assert naming.shape_text((97, 131, 1)) == "97x131x1"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (844, "844"),
        (999, "999"),
        (1000, "1.00 k"),
        (61_706, "61.7 k"),
        (9_996, "10.0 k"),
        (99_960, "100 k"),
        (999_600, "1.00 M"),
        (1_814_073_344, "1.81 G"),
        (5_000_000_000_000_000, "5000 T"),
    ],
)
def test_numbers_have_three_digits(number, text):
    assert naming.short(number) == text
