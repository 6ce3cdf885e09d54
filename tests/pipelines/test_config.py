from __future__ import annotations

import pytest

from pipelines import config, presets
from pipelines.config import TrainConfig
from pipelines.errors import UsageError


def test_file_changes_the_preset_and_the_command_line_changes_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nseed: 3\ndata: {batch_size: 64}\n")
    effective = config.resolve(TrainConfig(model="lenet5"), file, ["seed=4", "optimizer.learning_rate=1e-3"])
    assert (effective.model, effective.epochs, effective.seed) == ("lenet5", 7, 4)
    assert (effective.data.batch_size, effective.optimizer.learning_rate) == (64, 0.001)


def test_toml(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 7\n[optimizer]\nname = 'sgd'\n")
    effective = config.resolve(TrainConfig(), file)
    assert (effective.epochs, effective.optimizer.name) == (7, "sgd")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epohs=3", "Unknown key 'epohs'. Did you mean 'epochs'?"),
        ("data.batchsize=3", "Did you mean 'data.batch_size'?"),
        ("batch_size=3", "Did you mean 'data.batch_size'?"),
        ("learning_rate=3", "Did you mean 'optimizer.learning_rate'?"),
        ("optimizer.lr=3", "Did you mean 'optimizer.learning_rate'?"),
        ("optimzer.learning_rate=3", "Unknown key 'optimzer'. Did you mean 'optimizer'?"),
        ("epochs=0", "epochs: Input should be greater than or equal to 1. Received: 0."),
        ("epochs=many", "Received: 'many'"),
        ("optimizer.name=adm", "Input should be 'adam' or 'sgd'. Received: 'adm'."),
        ("data=3", "Received: 3"),
        ("epochs", "Expected KEY=VALUE"),
        ("epochs=[", "cannot be read"),
    ],
)
def test_wrong_overrides_are_told_in_one_line(override, message):
    with pytest.raises(UsageError) as error:
        config.resolve(TrainConfig(), None, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "epochs: ["), ("a.toml", "epochs = "), ("a.yaml", "- 1"), ("a.yaml", "")]
)
def test_unreadable_files_are_told_in_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        config.resolve(TrainConfig(), tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="Cannot read the config file .*No such file"):
        config.resolve(TrainConfig(), tmp_path / "none.yaml")


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_survive_their_file(name, tmp_path):
    (tmp_path / "config.yaml").write_text(presets.preset(name).to_yaml())
    assert config.from_file(tmp_path / "config.yaml") == presets.preset(name)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match=r"Did you mean 'fashion_mnist'\? Expected one of: fashion_mnist, "):
        presets.preset("fashion_minst")
