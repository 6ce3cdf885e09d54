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
from pipelines.config import DataConfig

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("ELSEWHERE_PYTHON", ROOT / ".venv-2.20" / "bin" / "python"))

pytestmark = [pytest.mark.elsewhere, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def version(workplace):
    return workplace / "models" / "patterns" / "1"


@pytest.fixture(scope="module")
def requests(data_set):
    images, encoded = export.read_pictures(data_set.held_out.take(slice(32)), DataConfig(), (28, 28, 1))
    return {
        "serving_default": {"images": images.numpy()},
        "serving_bytes": {"image_bytes": encoded.numpy().tolist()},
        "classify": {"inputs": endpoints._examples(endpoints.Pictures(images, encoded)).numpy().tolist()},
    }


@pytest.fixture(scope="module")
def elsewhere(version, requests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "requests").write_bytes(pickle.dumps(requests))
    command = [PYTHON, Path(answer.__file__), version, folder / "requests", folder / "answers"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return pickle.loads((folder / "answers").read_bytes())


def test_it_is_another_tensorflow(elsewhere):
    assert elsewhere["tensorflow"].startswith("2.20.")
    assert elsewhere["tensorflow"] != tf.__version__


def test_all_signatures_answer_as_here(elsewhere, version, requests):
    here = answer.ask(str(version), requests)
    for signature, outputs in here.items():
        assert set(elsewhere["answers"][signature]) == set(outputs)
        for name, value in outputs.items():
            other = elsewhere["answers"][signature][name]
            if value.dtype == object:
                assert other.tolist() == value.tolist(), (signature, name)
            else:
                np.testing.assert_allclose(other, value, atol=1e-5, err_msg=f"{signature} {name}")


def test_what_the_export_refuses_is_what_it_does_not_know(elsewhere):
    assert elsewhere["graph_version"] == saved_model.SERVING_GRAPH_VERSION
    assert answer.operators() - elsewhere["operators"] == saved_model.NEWER_OPERATORS
