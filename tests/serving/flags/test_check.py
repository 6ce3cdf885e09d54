"""`--check`: what is fit to serve, and what is not."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
from rich.console import Console
from support import load_servable

from serving import errors
from serving.server import check
from serving.server.config import ModelConfig
from serving.server.policies import All, Specific


class Doubling(tf.Module):
    """float32 (batch, 2) -> the same; and from encoded pictures."""

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def double(self, x):
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="x")])
    def strings(self, x):
        return {"y": tf.io.decode_raw(x, tf.uint8)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    module = Doubling()
    for name in ("double", "strings"):
        tf.saved_model.save(module, str(folder / name / "1"), signatures={"serving_default": getattr(module, name)})
    return folder


def load(name, version, path):
    return load_servable(path)


def checked(*models):
    output = io.StringIO()
    code = check.check(models, load, Console(file=output, width=200))
    return code, output.getvalue()


def test_models_that_are_fit(models):
    code, output = checked(ModelConfig("double", models / "double"), ModelConfig("[strings]", models / "strings"))
    assert (code, output.count("fit to serve"), output.splitlines()[-1]) == (0, 2, "All good.")
    assert "[strings]" in output
    assert "serving_default" in output


def test_what_is_wrong_is_told_of_each(models, tmp_path):
    shutil.copytree(models / "double" / "1", tmp_path / "1")
    shutil.copytree(models / "double" / "1", tmp_path / "2")
    (tmp_path / "2" / "saved_model.pb").write_bytes((tmp_path / "1" / "saved_model.pb").read_bytes()[:100])
    (tmp_path / "3").mkdir()
    every = ModelConfig("every", tmp_path, All())
    nine = ModelConfig("none", tmp_path, Specific(frozenset({9})))
    code, output = checked(every, ModelConfig("gone", tmp_path / "none"), nine)
    assert code == 1
    for text in (
        "saved_model.pb is missing",
        "Could not find base path",
        "it holds 1, 2, 3",
        "4 of 5 cannot be served.",
    ):
        assert text in output


def test_what_the_server_would_warn_of_is_told_too(models, tmp_path):
    for version in ("1", "001"):
        shutil.copytree(models / "double" / "1", tmp_path / version)
    code, output = checked(ModelConfig("m", tmp_path, Specific(frozenset({1, 9}))))
    assert (code, output.splitlines()[-1]) == (0, "All good.")
    assert "Version 9 of servable m is wanted, but not found" in output
    assert "001" in output


def test_the_command(models):
    command = [sys.executable, "-m", "serving.server", "--check", str(models)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.count("fit to serve")) == (0, 2), result.stderr


def load_unready(name, version, path):
    servable = load_servable(path)

    def run(inputs, signature_name):
        raise errors.FailedPrecondition("not initialized")

    servable.run = run
    return servable


def test_a_fault_in_one_model_hides_no_other(models):
    def load_some(name, version, path):
        if name == "strings":
            raise RecursionError("too deep")
        return load(name, version, path)

    output = io.StringIO()
    configs = [ModelConfig(name, models / name) for name in ("strings", "double")]
    assert check.check(configs, load_some, Console(file=output, width=200)) == 1
    assert "strings, version 1: INTERNAL: RecursionError: too deep" in output.getvalue()
    assert "1 of 2 cannot be served." in output.getvalue()


def test_a_model_that_loads_but_cannot_answer_is_told(models):
    config = ModelConfig("double", models / "double")
    (finding,) = check.examine(config, load_unready)
    assert finding.error == "A request of zeros fails with FAILED_PRECONDITION: not initialized"
