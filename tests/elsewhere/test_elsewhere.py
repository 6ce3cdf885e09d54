"""An export under TensorFlow 2.20, which the serving image has, in an environment of its own.

`make test-elsewhere` makes the environment in .venv-2.20; ELSEWHERE_PYTHON names the Python of another one.
"""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from elsewhere import answer

from pipelines import endpoints, export, saved_model
from pipelines.config import DataConfig, ExportConfig
from pipelines.optimization import VARIANTS
from pipelines.runs import Run

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("ELSEWHERE_PYTHON", ROOT / ".venv-2.20" / "bin" / "python"))

pytestmark = [pytest.mark.elsewhere, pytest.mark.timeout(600)]


# What `cnn-tf export` can be asked for.
EXTRAS = {"embeddings": True, "lenient": True, "explain": True}
CONFIGS = {
    "plain": ExportConfig(),
    **{name: ExportConfig(optimize=name, **EXTRAS) for name in VARIANTS},
    "xla": ExportConfig(optimize="frozen", xla=True, **EXTRAS),
}


@pytest.fixture(scope="module")
def pictures(data_set):
    return export.read_pictures(data_set.held_out.take(slice(32)), DataConfig(), (28, 28, 1))


@pytest.fixture(scope="module")
def versions(workplace, data_set, tmp_path_factory):
    """Folders by what was asked for."""
    run, models = Run(workplace / "runs" / "patterns"), tmp_path_factory.mktemp("models")
    return {
        name: str(export.export(run, data_set, models, name, examples=4, config=config).folder)
        for name, config in CONFIGS.items()
    }


@pytest.fixture(scope="module")
def requests(versions, pictures):
    """By folder and signature."""
    encoded = pictures.encoded.numpy().tolist()
    wanted = {
        "serving_default": {"images": pictures.images.numpy()},
        "serving_bytes": {"image_bytes": encoded},
        "serving_bytes_lenient": {"image_bytes": [b"no picture", *encoded]},
        "explain": {"image_bytes": encoded},
        "classify": {"inputs": endpoints._examples(pictures).numpy().tolist()},
    }
    optional = {"serving_bytes_lenient", "explain"}
    return {
        folder: {signature: wanted[signature] for signature in wanted if name != "plain" or signature not in optional}
        for name, folder in versions.items()
    }


@pytest.fixture(scope="module")
def elsewhere(requests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "requests").write_bytes(pickle.dumps(requests))
    command = [PYTHON, Path(answer.__file__), folder / "requests", folder / "answers"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return pickle.loads((folder / "answers").read_bytes())


def test_it_is_another_tensorflow(elsewhere):
    assert elsewhere["tensorflow"].startswith("2.20.")
    assert elsewhere["tensorflow"] != tf.__version__


@pytest.mark.parametrize("name", CONFIGS)
def test_all_signatures_answer_as_here(elsewhere, versions, requests, name):
    folder = versions[name]
    here, there = answer.ask(folder, requests[folder]), elsewhere["answers"][folder]
    assert there.keys() == here.keys()
    for signature, outputs in here.items():
        assert there[signature].keys() == outputs.keys()
        for output, value in outputs.items():
            if value.dtype == object:
                assert there[signature][output].tolist() == value.tolist(), (signature, output)
            else:
                np.testing.assert_allclose(there[signature][output], value, atol=1e-5, err_msg=f"{signature} {output}")


def test_what_the_export_refuses_is_what_it_does_not_know(elsewhere):
    assert elsewhere["graph_version"] == saved_model.SERVING_GRAPH_VERSION
    assert answer.operators() - elsewhere["operators"] == saved_model.NEWER_OPERATORS
