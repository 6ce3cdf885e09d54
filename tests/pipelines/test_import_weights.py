from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
from conftest import SilentObserver
from support import CLASS_NAMES, call_cli
from support import pictures as pictures_and_labels

import cnn_tf
from cnn_tf import googlenet
from cnn_tf.errors import WeightsMismatch
from pipelines import manifest, train
from pipelines.config import DataConfig, NetworkConfig, TrainConfig
from pipelines.errors import UsageError
from pipelines.import_weights import import_weights
from pipelines.runs import Run

GOLDEN = Path(__file__).parents[1] / "cnn_tf" / "golden"
sys.path.append(str(GOLDEN))
from fill import fill, pictures  # noqa: E402

IMAGENET = NetworkConfig(scaling="imagenet")
IMPORTED = TrainConfig(model="mobilenet_v3_small", data=DataConfig(source=None), network=IMAGENET)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    golden = json.loads((GOLDEN / "mobilenet_v3_small.json").read_text())
    file = tmp_path_factory.mktemp("weights") / "mobilenet_v3_small.safetensors"
    safetensors.numpy.save_file(fill(golden["shapes"], golden["gain"]), file)
    return file


@pytest.fixture(scope="session")
def imported(tmp_path_factory, weights_file):
    """A run for the pictures of the data set: 28x28x1, three classes."""
    run = Run(tmp_path_factory.mktemp("runs") / "imported")
    assert import_weights(run, weights_file, IMPORTED, (28, 28, 1), ["a", "b", "c"]) == ["logits"]
    return run


def test_the_run_is_a_whole_one_and_tells_where_its_weights_are_from(imported):
    imported.require_complete()
    assert imported.class_names == ["a", "b", "c"]
    assert imported.environment["weights"].startswith("mobilenet_v3_small.safetensors, SHA-256 ")


def test_the_paper_s_size_and_the_file_s_classes_are_the_default(tmp_path, weights_file):
    run = Run(tmp_path / "run")
    assert import_weights(run, weights_file, IMPORTED, None, None) == []
    assert run.class_names[:2] == ["class 0", "class 1"]
    expected = json.loads((GOLDEN / "mobilenet_v3_small.json").read_text())["logits"]["224x224"]
    logits = keras.saving.load_model(run.model)(pictures(224, 224))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_kernels_for_colours_are_summed_for_grey_pictures(imported, weights_file):
    theirs = safetensors.numpy.load_file(weights_file)["features.0.0.weight"]
    ours = keras.saving.load_model(imported.model).get_layer("stem_conv").get_weights()[0]
    np.testing.assert_allclose(ours[:, :, 0, :], theirs.sum(axis=1).transpose(1, 2, 0), rtol=1e-6)


def test_what_does_not_fit_is_named_and_leaves_no_run(tmp_path, weights_file):
    arrays = safetensors.numpy.load_file(weights_file)
    run = Run(tmp_path / "run")
    squeeze, stem = "features.4.block.2.fc1.weight", "features.0.0.weight"
    for change, message in [
        ({squeeze: None}, f"has no {squeeze}, which stage3_block1_squeeze_conv needs"),
        (
            {stem: np.zeros((16, 3, 5, 5), np.float32)},
            r"stem_conv needs a kernel of .* \(5, 5, 3, 16\), features.0.0 in",
        ),
        ({"extra.weight": np.zeros(3, np.float32)}, "has extra.weight, for which mobilenet_v3_small has no place"),
        ({"classifier.3.bias": None}, "has no classifier.3.bias, so these are not the weights of mobilenet_v3_small"),
    ]:
        changed = {name: array for name, array in (arrays | change).items() if array is not None}
        safetensors.numpy.save_file(changed, tmp_path / "changed.safetensors")
        with pytest.raises(WeightsMismatch, match=message):
            import_weights(run, tmp_path / "changed.safetensors", IMPORTED, None, None)
    assert not run.is_begun


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"nothing of the kind", "x.safetensors", "cannot be read as safetensors"),
        (b"nothing of the kind", "x.h5", "cannot be read as weights in HDF5"),
        (b"", "x.onnx", r"Expected a file that ends in .safetensors, .pth, .pt or .h5. Received: .*x.onnx"),
    ],
)
def test_other_files_are_refused(tmp_path, content, name, message):
    (tmp_path / name).write_bytes(content)
    config = IMPORTED.model_copy(update={"model": "vgg16"})
    with pytest.raises(WeightsMismatch, match=message):
        import_weights(Run(tmp_path / "run"), tmp_path / name, config, None, None)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    torch = pytest.importorskip("torch", reason="only torch reads .pth files")
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(WeightsMismatch, match="code in a checkpoint is never run"):
        import_weights(Run(tmp_path / "run"), tmp_path / "trap.pth", IMPORTED, None, None)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_it_is_told_how_to_do_without(tmp_path):
    with pytest.raises(WeightsMismatch, match=r"Only torch reads x.pth. Install it .* or get them as .safetensors"):
        import_weights(Run(tmp_path / "run"), tmp_path / "x.pth", IMPORTED, None, None)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_keras_applications_weights_give_its_logits(tmp_path):
    published = keras.applications.ResNet50(weights=None, classes=5, classifier_activation=None)
    for layer in published.layers:  # statistics and biases that matter
        layer.set_weights([_filled(layer, i, weight.shape) for i, weight in enumerate(layer.weights)])
    published.save_weights(tmp_path / "resnet50.weights.h5")
    network = NetworkConfig(scaling="caffe", norm_epsilon=1.001e-5)
    config = TrainConfig(model="resnet50_v1", data=DataConfig(source=None), network=network)
    run = Run(tmp_path / "run")
    assert import_weights(run, tmp_path / "resnet50.weights.h5", config, None, None) == []
    images = pictures(224, 224)
    expected = published(keras.applications.resnet50.preprocess_input(images.astype("float32")))
    np.testing.assert_allclose(keras.saving.load_model(run.model)(images), expected, rtol=1e-4, atol=1e-4)


def _filled(layer, index, shape):
    return fill(
        {f"{layer.name}.{index}.{'weight' if len(shape) > 1 or index in (0, 3) else 'bias'}": shape[::-1]}, 0.7
    )[f"{layer.name}.{index}.{'weight' if len(shape) > 1 or index in (0, 3) else 'bias'}"].T


def test_fine_tuning_starts_from_the_weights_and_may_leave_the_backbone_alone(
    tmp_path, workplace, data_set, tiny_config
):
    trained, run = Run(workplace / "runs" / "patterns"), Run(tmp_path / "tuned")
    start = {"epochs": 1, "initial": str(trained.folder), "freeze_backbone": True}
    train.train(run, tiny_config.model_copy(update=start), data_set, SilentObserver())
    before, after = (keras.saving.load_model(r.model) for r in (trained, run))
    for layer in before.layers:
        same = [
            np.array_equal(*pair)
            for pair in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True)
        ]
        if layer.weights:
            assert all(same) == (not layer.name.startswith(("head", "logits"))), layer.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": NetworkConfig()},
            r"made with network.scaling=imagenet, not unit. Add --set network.scaling=imagenet",
        ),
        ({"model": "resnet18"}, "is a mobilenet_v3_small. Add --set model=mobilenet_v3_small"),
        ({"initial": "nowhere"}, "The run .*nowhere does not exist"),
        ({"initial": None, "freeze_backbone": True}, "freeze_backbone keeps trained weights"),
    ],
)
def test_impossible_starts_are_refused_and_leave_no_run(tmp_path, imported, data_set, tiny_config, changes, message):
    start = {"model": "mobilenet_v3_small", "network": IMAGENET, "initial": str(imported.folder)}
    run = Run(tmp_path / "run")
    with pytest.raises(UsageError, match=message):
        train.train(run, tiny_config.model_copy(update=start | changes), data_set, SilentObserver())
    assert not run.is_begun


def test_auxiliary_heads_train_but_are_not_in_the_trained_model(tmp_path, tiny_config, monkeypatch):
    few_blocks = {name: googlenet.INCEPTIONS[name] for name in ("stage3_b", "stage4_a", "stage4_d")}
    monkeypatch.setattr(googlenet, "INCEPTIONS", few_blocks)
    run = Run(tmp_path / "run")
    images, labels = pictures_and_labels(24, 1)
    few = manifest.from_arrays("large", CLASS_NAMES, {"train": (images.repeat(3, axis=1).repeat(3, axis=2), labels)})
    config = tiny_config.model_copy(
        update={
            "model": "googlenet_d2l",
            "network": NetworkConfig(auxiliary_heads=True),
            "epochs": 1,
            "data": DataConfig(batch_size=8, validation_examples=8),
        }
    )
    train.train(run, config, few, SilentObserver())
    model = keras.saving.load_model(run.model)
    assert len(model.outputs) == 1
    assert not [layer.name for layer in model.layers if layer.name.startswith("aux")]
    checkpoint, _ = run.load_checkpoint()
    assert len(keras.saving.load_model(checkpoint).outputs) == 3


def test_an_import_that_fails_while_writing_leaves_nothing(tmp_path, weights_file, monkeypatch):
    def fail(self, model):
        raise KeyboardInterrupt

    run = Run(tmp_path / "run")
    monkeypatch.setattr(Run, "save_model", fail)
    with pytest.raises(KeyboardInterrupt):
        import_weights(run, weights_file, IMPORTED, None, None)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_network_of_keras_applications_name_the_first_layer(tmp_path):
    keras.applications.ResNet50V2(weights=None, classes=5).save_weights(tmp_path / "v2.weights.h5")
    config = IMPORTED.model_copy(update={"model": "resnet50_v1"})
    with pytest.raises(WeightsMismatch, match=r"does not fit keras.applications' resnet50. conv\w+: .*"):
        import_weights(Run(tmp_path / "run"), tmp_path / "v2.weights.h5", config, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnt18"], "Unknown model 'resnt18'. Did you mean 'resnet18'?"),
        (["--model", "lenet5"], "torchvision and timm have no network that equals lenet5. Those that do: alexnet, "),
        (
            ["--model", "resnet18", "--dataset", "fashion_mnist", "--classes", "5"],
            "--dataset gives the size of pictures",
        ),
        (["--model", "resnet18", "-s", "initial=x"], "Only seed and the keys of network can be set here"),
        (
            ["--model", "resnet18", "--class-names", "none.txt"],
            "Expected a file. Received: none.txt, which is not there.",
        ),
        (["--model", "resnet18", "--class-names", "twice.txt"], "Received in line 3: 'a'"),
        (["--model", "resnet18", "--input", "64x64"], "must be HEIGHTxWIDTHxCHANNELS"),
    ],
)
def test_wrong_use_of_the_command_is_one_line(tmp_path, weights_file, arguments, message):
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    done = call_cli("import-weights", weights_file, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_command_imports_and_says_what_is_new(tmp_path, weights_file):
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    arguments = ["--model", "mobilenet_v3_small", "--input", "32x32x3", "--class-names", "names.txt", "--name", "small"]
    done = call_cli("import-weights", weights_file, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "New, so to be trained: logits" in done.stderr
    again = call_cli("import-weights", weights_file, *arguments, cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_a_run_without_data_is_exported_but_not_evaluated(tmp_path):
    run = Run(tmp_path / "runs" / "small")
    run.begin(TrainConfig(data=DataConfig(source=None)))
    run.write_class_names(["one", "two", "three"])
    run.save_model(cnn_tf.build("lenet5", (28, 28, 1), 3))
    exported = call_cli("export", "small", cwd=tmp_path)
    assert "Checked on 16 random pictures" in exported.stderr, exported.stderr
    evaluated = call_cli("evaluate", "small", cwd=tmp_path)
    assert (evaluated.returncode, "no data set to be measured on" in evaluated.stderr) == (2, True)
