from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pipelines import evaluate
from pipelines.errors import UsageError
from pipelines.runs import Run


def test_measures_a_case_worked_out_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2], np.uint8)
    predicted = np.array([0, 0, 1, 1, 0, 0])
    result = evaluate.measure(labels, predicted, ["a", "b", "c"])
    assert result["accuracy"] == 3 / 6
    assert result["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    a, b, c = result["per_class"]
    assert (a["precision"], a["recall"], a["examples"]) == (2 / 4, 2 / 3, 3)
    assert a["f1"] == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert (b["precision"], b["recall"]) == (1 / 2, 1 / 2)
    assert (c["precision"], c["recall"], c["f1"]) == (0, 0, 0)


def test_worst_mistakes_are_the_surest_wrong_answers():
    labels = np.array([0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    mistakes = evaluate.worst_mistakes(
        labels, probabilities, lambda number: tf.fill((2, 2, 1), tf.cast(number, tf.uint8))
    )
    assert [(mistake.index, mistake.label, mistake.predicted) for mistake in mistakes] == [(2, 1, 0), (1, 1, 0)]
    assert [mistake.image.max() for mistake in mistakes] == [2, 1]


def test_writes_evaluation_and_report(workplace, data_set):
    run = Run(workplace / "runs" / "patterns")
    result = evaluate.evaluate(run, data_set)
    assert result["accuracy"] > 0.9
    assert json.loads(run.evaluation.read_text()) == result
    assert "<striped>" not in (run.report / "index.html").read_text()


def test_an_unfinished_run_is_refused(tmp_path, data_set):
    with pytest.raises(UsageError, match="does not exist"):
        evaluate.evaluate(Run(tmp_path / "none"), data_set)


def test_a_run_of_an_earlier_version_is_told(workplace, tmp_path, data_set):
    shutil.copytree(workplace / "runs" / "patterns", tmp_path / "old")
    (tmp_path / "old" / "classes.txt").unlink()
    with pytest.raises(UsageError, match=r"classes.txt is missing: the run is of an earlier version. Train it anew"):
        evaluate.evaluate(Run(tmp_path / "old"), data_set)
