"""Temperature scaling, where the answer is known beforehand."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import calibration
from pipelines.errors import UsageError
from pipelines.runs import Run
from pipelines.train import load_model

factors = st.floats(0.1, 10)


def calibrated(seed, count=4000, classes=5):
    """Logits, and labels drawn with the probabilities that they give."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(count, classes))
    # The largest of logits with Gumbel noise is drawn as softmax has it.
    return logits, (logits + random.gumbel(size=logits.shape)).argmax(axis=1)


def negative_log_likelihood(logits, labels):
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), factor=factors)
def test_what_is_k_times_too_sure_gets_the_temperature_k(seed, factor):
    logits, labels = calibrated(seed)
    found = calibration.temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.15)
    assert found == pytest.approx(factor * calibration.temperature(logits, labels), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), other=factors.filter(lambda factor: abs(factor - 1) > 0.01))
def test_no_other_temperature_makes_the_labels_more_likely(seed, other):
    logits, labels = calibrated(seed, count=200)
    best = logits / calibration.temperature(logits, labels)
    assert negative_log_likelihood(best, labels) < negative_log_likelihood(best * other, labels)


@pytest.mark.parametrize("labels", [[0, 1, 0], [1, 0, 1]])
def test_all_right_or_worse_than_chance_tell_none(labels):
    logits = np.array([[1.0, 0], [0, 1], [3, 0]])
    right = 3 if labels[0] == 0 else 0
    with pytest.raises(UsageError, match=f"tell no temperature: {right} of 3 are classified right"):
        calibration.temperature(logits, np.array(labels))


def test_the_error_of_a_case_worked_out_by_hand():
    confidence = np.array([0.91, 0.93, 0.61, 0.63, 0.65])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    # In the bin from 14/15: nothing. From 13/15: 0.91 and 0.93, one right. From 9/15: 0.61 to 0.65, all right.
    expected = (abs(1 - 1.84) + abs(3 - 1.89)) / 5
    found = calibration.expected_calibration_error(probabilities, np.array([0, 1, 0, 0, 0]))
    assert found == pytest.approx(expected)


def test_calibrated_probabilities_have_a_small_error():
    logits, labels = calibrated(1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert calibration.expected_calibration_error(probabilities, labels) < 0.03
    assert calibration.expected_calibration_error(np.eye(5)[logits.argmax(axis=1)], labels) > 0.2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("source: fashion_mnist", "source: null", "has imported weights and no data set to be calibrated on"),
        ("validation_examples: 100", "validation_examples: 0", "kept no pictures aside to be calibrated on"),
    ],
)
def test_a_run_without_validation_pictures_is_refused(workplace, data_set, tmp_path, old, new, message):
    run = Run(shutil.copytree(workplace / "runs" / "patterns", tmp_path / "run"))
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message) as raised:
        calibration.calibrate(run, data_set, load_model(run.model))
    assert raised.value.exit_code == 2
