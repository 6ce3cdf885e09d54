"""The forms in which a network can be exported, and what they are measured to be worth."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import call_cli, load_servable

import cnn_tf
from pipelines import commands, endpoints, export, worth
from pipelines.config import DataConfig, ExportConfig, TrainConfig
from pipelines.errors import ExportRefused, UsageError
from pipelines.optimization import VARIANTS, optimize
from pipelines.runs import Run
from pipelines.train import load_model

CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def run(workplace):
    return Run(workplace / "runs" / "patterns")


@pytest.fixture(scope="module")
def network():
    model = cnn_tf.build("lenet5_bn", (28, 28, 1), 3)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def pictures():
    return tf.constant(np.random.default_rng(1).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8))


def serve(optimized, **settings):
    """The signature serving_default."""
    return export._trace(
        optimized,
        lambda: {"serving_default": endpoints.serving_default(optimized.model, CLASSES, ExportConfig(**settings))},
    )


def test_a_loss_is_allowed_only_where_there_may_be_one():
    answer = call_cli("export", "patterns", "--max-accuracy-drop", "0.5", cwd=".")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "--max-accuracy-drop goes with --optimize or --xla" in answer.stderr


def test_the_command_offers_all_there_are():
    assert [form.value for form in commands.Form] == list(VARIANTS)
    answer = call_cli("export", "patterns", "--optimize", "int4", cwd=".")
    assert answer.returncode == 2
    with pytest.raises(UsageError, match=r"one of float32, folded, frozen, bfloat16, int8. Received: 'int4'"):
        optimize(None, "int4")


# Logits of this network are about 1; 8 bits of mantissa, and 127 levels.
@pytest.mark.parametrize(
    ("name", "lost"), [("float32", 1e-6), ("folded", 1e-5), ("frozen", 1e-5), ("bfloat16", 0.02), ("int8", 0.05)]
)
def test_the_graph_computes_what_is_promised(network, pictures, name, lost):
    optimized = optimize(network, name)
    answer = serve(optimized).functions["serving_default"](pictures)["logits"]
    np.testing.assert_allclose(answer, optimized.model(pictures), atol=1e-5)
    normalizations = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)
    assert optimized.folded_layers == (None if name == "float32" else normalizations)
    difference = np.abs(answer - network(pictures).numpy()).max()
    assert difference < lost
    assert VARIANTS[name].is_exact or difference > 1e-5


def test_only_frozen_weights_are_constants(network):
    for name in VARIANTS:
        traced = serve(optimize(network, name))
        is_frozen = VARIANTS[name].is_frozen
        assert bool(traced.variables) != is_frozen
        size = traced.functions["serving_default"].graph.as_graph_def().ByteSize()
        assert (size > 4 * network.count_params()) == is_frozen


def test_kernels_are_stored_small_and_all_else_exactly(network):
    optimized = optimize(network, "int8")
    kernels = sum(layer.kernel.numpy().size for layer in network.layers if hasattr(layer, "kernel"))
    stored = dict.fromkeys((tf.int8, tf.float32), 0)
    for variable in optimized.variables:
        stored[variable.dtype] += variable.shape.num_elements()
    assert stored[tf.int8] == kernels
    assert optimized.weight_bytes == kernels + 4 * stored[tf.float32] < 0.3 * 4 * network.count_params()
    assert optimize(network, "bfloat16").weight_bytes < 0.53 * 4 * network.count_params()


@pytest.mark.parametrize("kind", [keras.layers.Conv2D, keras.layers.DepthwiseConv2D])
def test_int8_rounds_each_output_channel_by_itself(kind):
    settings = {"filters": 4} if kind is keras.layers.Conv2D else {"depth_multiplier": 2}
    inputs, layer = keras.Input((5, 5, 2)), kind(kernel_size=3, **settings)
    model = keras.Model(inputs, layer(inputs))
    kernel = np.random.default_rng(0).normal(size=layer.kernel.shape)
    channels = kernel.reshape(*kernel.shape[:2], -1, 4) if "filters" in settings else kernel.reshape(3, 3, 1, 4)
    channels *= [1, 100, 0, 1e-4]
    layer.kernel.assign(kernel)
    rounded = optimize(model, "int8").model.layers[-1].kernel.numpy().reshape(channels.shape)
    largest = np.abs(channels).max(axis=(0, 1, 2))
    assert (np.abs(rounded - channels) <= 0.505 * (largest + 1e-6) / 127).all()
    assert (rounded[..., 2] == 0).all()


def test_xla_compiles_the_network_alone_and_the_embedded_server_runs_it(network, pictures, tmp_path):
    optimized = optimize(network, "frozen")
    traced = serve(optimized, xla=True, embeddings=True)
    export._write(traced, tmp_path)
    library = traced.functions["serving_default"].graph.as_graph_def().library.function
    [compiled] = [function for function in library if function.attr["_XlaMustCompile"].b]
    assert "Conv2D" in {node.op for node in compiled.node_def}
    expected = network(pictures).numpy()
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.signatures["serving_default"](images=pictures)["logits"], expected, atol=1e-4)
    servable = load_servable(tmp_path)
    answer = servable.run({"images": pictures.numpy()}, "serving_default")
    np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
    servable.close()


def test_what_loses_too_much_accuracy_is_refused(run, data_set, tmp_path):
    copy = Run(tmp_path / "run")
    copy.folder.mkdir()
    for file in run.folder.iterdir():
        if file.is_file():
            (copy.folder / file.name).write_bytes(file.read_bytes())
    # A unit that is always off, with weights so large that in int8 all others' are rounded to 0.
    model = load_model(run.model)
    before, last = model.get_layer("head_dense2"), model.get_layer("logits")
    kernel, bias = before.get_weights()
    before.set_weights([np.where(np.arange(84) == 0, 0, kernel), np.where(np.arange(84) == 0, -1e4, bias)])
    kernel, bias = last.get_weights()
    last.set_weights([np.where(np.arange(84)[:, np.newaxis] == 0, 1e6, kernel), bias])
    copy.save_model(model)
    with pytest.raises(
        ExportRefused, match=r"In int8 the model is right for .* percent points less. Expected at most 1 "
    ):
        export.export(copy, data_set, tmp_path / "models", "m", examples=4, config=ExportConfig(optimize="int8"))
    assert [entry.name for entry in tmp_path.glob("models/*/*")] == [".lock"]


@pytest.mark.parametrize(("most", "is_refused"), [(2.0, True), (2.5, False), (100.0, False)])
def test_how_much_accuracy_may_be_lost(most, is_refused):
    lossy = worth.Worth(1000, "test", 0.875, 0.9, 0.2, 100, 400, 1.0, 2.0, 0.5, 0)
    if is_refused:
        with pytest.raises(ExportRefused, match="2.50 percent points less. Expected at most 2 "):
            worth.require_accuracy(lossy, "int8", most)
    else:
        worth.require_accuracy(lossy, "int8", most)


def test_pictures_to_compare_on(run, data_set, tmp_path):
    assert worth.unseen(run, data_set, labelled=True).name == "test"
    untested = dataclasses.replace(data_set, splits={"train": data_set.splits["train"]})
    kept = worth.unseen(run, untested, labelled=True)
    assert (kept.name, len(kept.split)) == ("validation", 100)
    imported = Run(tmp_path / "imported")
    imported.begin(TrainConfig(data=DataConfig(source=None, validation_examples=0)))
    with pytest.raises(UsageError, match="no data set on which it could be seen what rounded ones lose"):
        worth.unseen(imported, data_set, labelled=True)
    noise = worth.unseen(imported, data_set, labelled=False)
    assert noise.judge(tf.zeros((120, 3))) is None
    with pytest.raises(UsageError, match="neither test nor validation pictures"):
        worth.unseen(imported, untested, labelled=False)
