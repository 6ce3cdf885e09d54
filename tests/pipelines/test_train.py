from __future__ import annotations

import json
import signal
import subprocess

import keras
import numpy as np
import pytest
from conftest import SilentObserver
from support import call_cli, cli, run_cli, until

from pipelines import train
from pipelines.config import DataConfig, OptimizerConfig, TrainConfig
from pipelines.errors import RunBusy, UsageError
from pipelines.runs import Run

SETTINGS = ("epochs=2", "data.batch_size=20", "data.validation_examples=260", "augment.flip=true")


def weights(run):
    return keras.saving.load_model(run.model).get_weights()


def test_the_run_folder_tells_everything(workplace, tiny_config):
    run = Run(workplace / "runs" / "patterns")
    assert run.config == tiny_config
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert run.history[-1]["validation_accuracy"] > 0.9
    assert {"tensorflow", "keras", "python", "platform", "seed"} <= set(run.environment)


def test_the_learning_rate_rises_and_falls_to_zero():
    schedule = train.make_optimizer(OptimizerConfig(learning_rate=0.1, warmup_epochs=1), 30, 3)._learning_rate
    rates = [float(schedule(step)) for step in range(31)]
    assert rates[0] == 0
    assert rates[10] == pytest.approx(0.1)
    assert rates[30] == pytest.approx(0, abs=1e-8)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_every_validation_uses_the_same_graph(data_set, tiny_config, monkeypatch):
    made, make = [], train.make_inference
    monkeypatch.setattr(train, "make_inference", lambda model: made.append(make(model)) or made[-1])
    plan = train._plan(tiny_config, data_set, train.PLAIN)
    model = train._build(plan, None)
    validate = train._make_validation(model, plan)
    assert validate() == validate()
    [infer] = made
    assert infer.experimental_get_tracing_count() == 1


def test_a_smaller_last_batch_trains_as_any_other(data_set, tiny_config):
    plan = train._plan(tiny_config, data_set, train.PLAIN)
    [batch] = train._batches(plan, first_step=37)
    assert len(batch["label"]) == 16
    sums, trained = [], []
    for batch_size in (32, 16):
        keras.utils.set_random_seed(0)
        model = train._build(plan, None)
        sums.append(train.make_step(model, batch_size)(batch))
        trained.append([weight.numpy() for weight in model.weights])
    np.testing.assert_allclose(sums[0].loss, sums[1].loss, rtol=1e-5)
    for actual, expected in zip(*trained, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_killed_training_goes_on_and_ends_where_the_unbroken_one_ends(workplace):
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    unbroken, broken = Run(workplace / "runs" / "unbroken"), Run(workplace / "runs" / "broken")
    assert run_cli("train", "--name", "unbroken", *settings, cwd=workplace).returncode == 0
    settings += ["--set", "checkpoint_seconds=0.01"]
    command = cli("train", "--name", "broken", *settings)
    with subprocess.Popen(command, cwd=workplace, stderr=subprocess.DEVNULL) as process:
        # Killed in the middle of an epoch, once a checkpoint is there.
        until(lambda: (broken.folder / "checkpoints").is_dir() and broken.load_checkpoint())
        process.send_signal(signal.SIGKILL)
    killed_at = broken.load_checkpoint()[1].step
    assert 0 < killed_at < 24
    assert not broken.is_complete
    again = run_cli("train", "--name", "broken", *settings, cwd=workplace)
    assert again.returncode == 0, again.stderr
    assert "Going on" in again.stderr
    for actual, expected in zip(weights(broken), weights(unbroken), strict=True):
        np.testing.assert_array_equal(actual, expected)
    for actual, expected in zip(broken.history, unbroken.history, strict=True):
        assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert actual["accuracy"] == expected["accuracy"]
    assert not list(broken.folder.rglob(".aside-*"))
    third = call_cli("train", "--name", "broken", *settings, cwd=workplace)
    assert (third.returncode, "Reusing" in third.stderr) == (0, True)


def test_other_settings_for_an_old_run_are_refused(workplace):
    run = Run(workplace / "runs" / "patterns")
    with pytest.raises(UsageError, match=r"begun with other settings: epochs 3 instead of 9.*--name"):
        run.begin(run.config.model_copy(update={"epochs": 9}))


def test_two_processes_cannot_train_in_one_folder(tmp_path, data_set, tiny_config):
    run = Run(tmp_path / "run")
    with run.lock(), pytest.raises(RunBusy):
        train.train(run, tiny_config, data_set, SilentObserver())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(model="lenet", data=DataConfig(validation_examples=0)), "Unknown model 'lenet'"),
        (TrainConfig(data=DataConfig(validation_examples=500)), "must be below 500"),
        (TrainConfig(data=DataConfig(input_shape="28x28")), "data.input_shape: .* must be HEIGHTxWIDTHxCHANNELS"),
    ],
)
def test_impossible_settings_are_refused_and_leave_no_run(tmp_path, data_set, config, message):
    run = Run(tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        train.train(run, config, data_set, SilentObserver())
    assert not run.is_begun


def test_history_is_one_json_object_a_line(workplace):
    lines = (workplace / "runs" / "patterns" / "history.jsonl").read_text().splitlines()
    assert all(json.loads(line)["seconds"] > 0 for line in lines)
