"""Every variant keeps its promises: the table of promises, walked property by property, on networks without weights."""

from __future__ import annotations

import gc
import math

import keras
import numpy as np
import pytest

import cnn_tf
from cnn_tf import MODELS, resnet, resnet_v2
from cnn_tf.description import describe, smallest_size, totals
from cnn_tf.errors import NetworkError, PictureVanishes
from cnn_tf.options import without_weights
from cnn_tf.promises import PROMISES

NAMES = list(cnn_tf.MODELS)

# The blocks of resnet50_v1 and resnet50_v2, as many as in resnet101 and resnet152.
DEEP = {"resnet101_v1", "resnet152_v1", "resnet101_v2", "resnet152_v2"}


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.deep] * (name in DEEP)) for name in NAMES]
)
def full(request):
    """As the paper has it."""
    gc.collect()  # the one before
    with without_weights():
        return cnn_tf.build(request.param)


def test_every_model_has_its_promise():
    missing = [name for name in NAMES if name not in PROMISES]
    assert not missing, f"add rows for {missing} to cnn_tf/promises.csv, where they stand in cnn_tf.MODELS"
    assert list(PROMISES) == NAMES


def test_parameters(full):
    """For 10 classes and for 1000: but for nin, only the last layer with weights has them; the next test builds some."""
    classes = full.output_shape[-1]
    assert classes in (10, 1000)
    assert trainable(full) == getattr(PROMISES[full.name], f"parameters_{classes}")
    if full.name == "nin":
        return
    last = [layer for layer in full.layers if layer.weights][-1]
    other = 1010 - classes
    of_others = trainable(full) + trainable(last) // classes * (other - classes)
    assert of_others == getattr(PROMISES[full.name], f"parameters_{other}")


# One of each family.
@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_paper", "alexnet", "vgg11", "nin", "googlenet", "resnet20", "resnet18_v2", "wrn16_4"]
)
def test_parameters_for_the_other_number_of_classes(name):
    other = 1010 - cnn_tf.MODELS[name].keywords["num_classes"]
    with without_weights():
        model = cnn_tf.build(name, num_classes=other)
    assert trainable(model) == getattr(PROMISES[name], f"parameters_{other}")


@pytest.mark.parametrize("name", sorted(DEEP))
def test_the_same_depth_is_the_same_blocks(name):
    tables = resnet.RESNETS | resnet_v2.RESNETS_V2
    assert tables[name].num_blocks == tables[name.partition("_")[0]].num_blocks


def test_input_and_multiply_adds(full):
    assert full.input_shape[1:] == PROMISES[full.name].input
    assert totals(describe(full)).macs == PROMISES[full.name].macs
    assert totals(describe(full)).parameters == trainable(full)


def test_stages(full):
    stages = {}
    for layer in full.layers:
        stage = layer.name.partition("_")[0]
        if stage == "stem" or stage.startswith("stage"):
            stages[stage] = tuple(layer.output.shape[1:])
    assert stages == PROMISES[full.name].stages


def test_receptive_field(full):
    spatial = [row for row in describe(full) if row.name.startswith(("stem", "stage")) and row.receptive_field]
    assert spatial[-1].receptive_field == PROMISES[full.name].receptive_field


def test_the_description_counts_what_keras_counts(full):
    counted = totals(describe(full))
    assert counted.parameters + counted.statistics == sum(math.prod(weight.shape) for weight in full.weights)


# What the arithmetic of the papers gives; the others have padding everywhere, so one pixel is enough.
SMALLEST = {"lenet5": 12, "lenet5_bn": 16, "alexnet": 63, "vgg11": 32, "nin": 67, "googlenet": 15, "densenet121": 29}


@pytest.mark.parametrize(("name", "smallest"), SMALLEST.items())
def test_too_small_a_picture_is_told_the_layer_and_the_smallest_size(name, smallest):
    expected = (
        rf"{name} needs pictures of at least {smallest}x{smallest}. Received: {smallest - 1}x300. The picture vanishes "
    )
    with pytest.raises(PictureVanishes, match=expected + r"in \w+:"):
        cnn_tf.build(name, (smallest - 1, 300, 3), 2)


def test_every_smallest_size_is_the_smallest(full):
    smallest = smallest_size(full)
    if smallest == 1:
        return  # none is smaller
    with without_weights():
        cnn_tf.build(full.name, (smallest, smallest, 3), 2)
        with pytest.raises(PictureVanishes):
            MODELS[full.name](input_shape=(smallest - 1, 300, 3))


def test_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(NetworkError, match=r"Unknown model 'lenet_5'. Did you mean 'lenet5'\? .*alexnet, .*wrn40_4"):
        cnn_tf.build("lenet_5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"input_shape": (32, 32)},
            r"input_shape must be \(height, width, channels\), such as .* Received: \(32, 32\)",
        ),
        ({"num_classes": 0}, "num_classes must be an integer from 1 on. Received: 0"),
        ({"num_classes": 2.5}, "num_classes must be an integer from 1 on. Received: 2.5"),
        ({"input_shape": 28}, "input_shape must be .* Received: 28"),
        ({"dropout": "0.2"}, "dropout must be a number at least 0 and below 1. Received: '0.2'"),
        ({"dropout": 1.0}, "dropout must be a number at least 0 and below 1. Received: 1.0"),
        ({"norm_epsilon": 0.0}, "norm_epsilon must be a number above 0"),
        ({"droput": 0.1}, "Unknown option 'droput'. Did you mean 'dropout'"),
        ({"scaling": "none"}, "Unknown scaling 'none'"),
        ({"auxiliary_heads": True}, "lenet5 has no auxiliary heads"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(NetworkError, match=message):
        cnn_tf.build("lenet5", **arguments)


def test_options_reach_every_layer_and_end_with_the_build():
    changed = cnn_tf.build("vgg11_bn", (32, 32, 3), 2, dropout=0.1, norm_momentum=0.5, norm_epsilon=1e-2)
    plain = cnn_tf.build("vgg11_bn", (32, 32, 3), 2)
    for model, expected in ((changed, {0.1, 0.5, 1e-2}), (plain, {0.5, 0.9, 1e-5})):
        dropouts = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
        norms = {(n.momentum, n.epsilon) for n in model.layers if isinstance(n, keras.layers.BatchNormalization)}
        assert dropouts | set(*norms) == expected


@pytest.mark.parametrize(
    ("scaling", "black", "white"),
    [("unit", 0, 1), ("symmetric", -1, 1), ("imagenet", -0.485 / 0.229, 0.515 / 0.229), ("caffe", -123.68, 131.32)],
)
def test_scaling_is_part_of_the_network(scaling, black, white):
    model = cnn_tf.build("resnet20", (8, 8, 3), 2, scaling=scaling)
    scaled = model.get_layer("scale")(np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)]))
    np.testing.assert_allclose(np.asarray(scaled)[:, 0, 0, 0], [black, white], rtol=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [("googlenet", 13_004_888), ("googlenet_paper", 13_378_280)])
def test_auxiliary_heads(name, parameters):
    with without_weights():
        model = cnn_tf.build(name, auxiliary_heads=True)
    assert [output.shape for output in model.outputs] == [(None, 1000)] * 3
    assert trainable(model) == parameters


def test_googlenet_has_57_convolutions_and_is_22_layers_deep():
    with without_weights():
        rows = describe(cnn_tf.build("googlenet_paper"))
    depth = {}
    for row in rows:
        depth[row.name] = (row.macs > 0) + max((depth[name] for name in row.inputs), default=0)
    assert sum(row.kind == "Conv2D" for row in rows) == 57
    assert max(depth.values()) == 22


def test_nin_needs_no_fully_connected_layer():
    assert not [row for row in describe(cnn_tf.build("nin")) if row.kind == "Dense"]
