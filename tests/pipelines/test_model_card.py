"""What the card of an exported version tells, and what it never does."""

from __future__ import annotations

import getpass
import json
import platform
import shutil

import numpy as np
import pytest
from support import CLASS_NAMES

from pipelines import evaluate, model_card, saved_model
from pipelines.config import ExportConfig
from pipelines.runs import Run
from pipelines.train import load_model


@pytest.fixture(scope="module")
def version(workplace):
    return workplace / "models" / "patterns" / "1"


@pytest.fixture
def card(version):
    return model_card.read(version)


def test_what_it_tells(card, version, data_set, tiny_config, workplace):
    model = load_model(workplace / "runs" / "patterns" / "model.keras")
    assert (card["name"], card["version"], card["licence"]) == ("patterns", 1, "unspecified")
    assert card["data"] == {"name": "patterns", "fingerprint": data_set.fingerprint}
    assert card["evaluation"] is None
    assert card["parameters"] == model.count_params()
    assert card["config"] == tiny_config.model_dump(mode="json")
    assert card["limits"]["classes"] == CLASS_NAMES
    assert (card["limits"]["height"], card["limits"]["width"], card["limits"]["channels"]) == (28, 28, 1)
    assert card["signatures"]["serving_default"]["inputs"] == {"images": {"dtype": "uint8", "shape": [None, 28, 28, 1]}}
    assert card["signatures"]["classify"]["outputs"]["scores"] == {"dtype": "float32", "shape": [None, 3]}
    assert {"Conv2D", "MatMul", "DecodePng"} < set(card["operators"])
    assert not [name for name in card["operators"] if name.startswith("__inference")]
    assert card["libraries"]["tensorflow"]["training"] == card["libraries"]["tensorflow"]["export"]
    assert version.joinpath("saved_model.pb").stat().st_size < card["bytes"]


def test_an_evaluation_is_in_it_with_the_data_it_was_on(version, data_set, workplace, tmp_path):
    run = Run(shutil.copytree(workplace / "runs" / "patterns", tmp_path / "run"))
    measured = evaluate.measure(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]), CLASS_NAMES)
    run.evaluation.write_text(json.dumps({"split": "test", "data": "1234", "loss": 0.5, **measured}))
    config = ExportConfig(licence="MIT", max_pixels=10_000)
    origin = model_card.Origin(run, load_model(run.model), data_set, config)
    findings = model_card.Findings(run.read_evaluation())
    card = model_card.describe(version, saved_model.read(version), "m", 3, origin, findings)
    assert (card["evaluation"]["accuracy"], card["evaluation"]["data"], card["licence"]) == (0.75, "1234", "MIT")
    page = model_card.markdown(card)
    assert page.startswith(
        "# m, version 3\n\nTells which of 3 classes a picture shows; right for **75.00\N{NO-BREAK SPACE}%**"
    )
    assert "The data set had changed since the training" in page
    assert "| MIT |" in page
    assert "more than 10,000 pixels" in page


def test_names_of_classes_are_no_markdown(card):
    card["limits"]["classes"] = ["a|b", "<striped> [red]", "two\nlines"]
    assert r"one of: a\|b, \<striped\> \[red\], two lines." in model_card.markdown(card)


def test_nothing_tells_whose_machine_it_was(version, workplace):
    texts = [(version / file).read_text() for file in (model_card.JSON_FILE, model_card.MARKDOWN_FILE)]
    for secret in (str(workplace), str(workplace.parent), platform.node(), f"/{getpass.getuser()}"):
        assert not any(secret in text for text in texts)


def test_paths_in_the_config_lose_their_folders():
    assert model_card._without_folders({"initial": "/home/ann/runs/first", "data": {"fit": "crop", "epochs": 3}}) == {
        "initial": "first",
        "data": {"fit": "crop", "epochs": 3},
    }
