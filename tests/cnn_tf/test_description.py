from __future__ import annotations

import functools
import math
import subprocess
import sys
from operator import attrgetter

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import cnn_tf
from cnn_tf import shapes
from cnn_tf.description import Totals, describe, smallest_size, totals
from cnn_tf.layers import AdaptiveAveragePooling2D, GroupedConv2D

# keras.applications with 1000 classes -> multiply-adds, and the last receptive field before the head as published by Araujo,
# Norris and Sim, "Computing receptive fields of convolutional neural networks", 2019. ResNet50 is v1: strides in the 1x1.
APPLICATIONS = {
    "ResNet50": (3_857_973_248, 483),
    "MobileNet": (568_740_352, 315),
    "InceptionV3": (5_713_216_096, 1311),
}


@functools.cache
def application(name):
    return getattr(keras.applications, name)(weights=None)


def network(*chain, shape=(16, 16, 4)):
    x = inputs = keras.Input(shape)
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x)


def rows_of(*chain, **shape):
    """The rows of a network of these layers, without the input's."""
    return describe(network(*chain, **shape))[1:]


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_known_networks_have_their_known_numbers(name):
    model = application(name)
    rows = describe(model)
    macs, field = APPLICATIONS[name]
    assert totals(rows) == Totals(trainable(model), model.count_params() - trainable(model), macs)
    assert [row.receptive_field for row in rows if row.receptive_field][-1] == field


def test_vgg16_has_its_known_numbers():
    # Without its dense layers, which would take half a gigabyte.
    rows = describe(keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3)))
    head = [(512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)]
    parameters, _, macs = totals(rows)
    assert parameters + sum(shapes.dense_parameters(*row) for row in head) == 138_357_544
    assert macs + sum(shapes.dense_parameters(*row, use_bias=False) for row in head) == 15_470_264_320
    # Stage by stage: a 3x3 kernel adds 2 jumps, a 2x2 pooling 1, and the jump doubles. Araujo says 212, too.
    two, three = 2 * 2 + 1, 3 * 2 + 1
    assert rows[-1].receptive_field == 1 + two * 1 + two * 2 + three * 4 + three * 8 + three * 16 == 212


def test_lenet_row_by_row():
    rows = describe(cnn_tf.build("lenet5", (28, 28, 1), 10))
    numbers = attrgetter("output_shape", "parameters", "statistics", "macs", "receptive_field")
    assert [numbers(row) for row in rows if row.kind in ("Conv2D", "AveragePooling2D", "Flatten", "Dense")] == [
        ((28, 28, 6), 156, 0, 117_600, 5),
        ((14, 14, 6), 0, 0, 0, 6),
        ((10, 10, 16), 2_416, 0, 240_000, 14),
        ((5, 5, 16), 0, 0, 0, 16),
        ((400,), 0, 0, 0, None),
        ((120,), 48_120, 0, 48_000, None),
        ((84,), 10_164, 0, 10_080, None),
        ((10,), 850, 0, 840, None),
    ]


def test_totals_of_nothing_are_nothing():
    assert totals([]) == Totals(0, 0, 0)


# Counts


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(6, 3),
        layers.Conv2D(6, (1, 7), strides=(2, 1), use_bias=False),
        layers.Conv2D(6, 3, groups=2, padding="same"),
        GroupedConv2D(6, 3, groups=2),
        layers.DepthwiseConv2D(3),
        layers.DepthwiseConv2D(5, 2, depth_multiplier=3, use_bias=False),
        layers.Dense(7),
        layers.Dense(7, use_bias=False),
        layers.EinsumDense("...c,c->...c", (4,)),
        layers.EinsumDense("bhwc,c->bhwc", (16, 16, 4)),
        layers.BatchNormalization(),
        layers.BatchNormalization(scale=False),
        layers.LayerNormalization(),
        layers.LayerNormalization(center=False),
    ],
    ids=lambda layer: layer.name,
)
def test_parameters_equal_kerass_count(layer):
    (row,) = rows_of(layer)
    assert (row.kind, row.output_shape) == (type(layer).__name__, layer.output.shape[1:])
    assert row.parameters == sum(math.prod(weight.shape) for weight in layer.trainable_weights)
    assert row.statistics == sum(math.prod(weight.shape) for weight in layer.non_trainable_weights)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (layers.Conv2D(6, 3), 14 * 14 * 4 * 6 * 9),
        (layers.Conv2D(6, (1, 7), strides=(2, 1)), 8 * 10 * 4 * 6 * 7),
        (GroupedConv2D(6, 3, groups=2), 14 * 14 * 4 * 6 * 9 // 2),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3), 16 * 16 * 4 * 3 * 9),
        (layers.Dense(7), 16 * 16 * 4 * 7),
        (layers.EinsumDense("...c,c->...c", (4,)), 0),
        (layers.MaxPooling2D(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_macs_are_counted_at_each_position(layer, macs):
    assert rows_of(layer)[0].macs == macs


def test_moving_averages_are_statistics_and_so_are_the_weights_of_a_frozen_layer():
    (trained,), (frozen,) = (rows_of(layers.BatchNormalization(trainable=trainable)) for trainable in (True, False))
    assert (trained.parameters, trained.statistics) == (8, 8)
    assert (frozen.parameters, frozen.statistics) == (0, 16)


# Receptive fields


@pytest.mark.parametrize(
    "chain",
    [
        [layers.Conv2D(1, 3), layers.Conv2D(1, 3, strides=2), layers.Conv2D(1, 3)],
        [layers.Conv2D(1, 3, dilation_rate=3), layers.AveragePooling2D(3, 2)],
        [layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, 2), layers.Conv2D(1, 5, padding="same")],
        [layers.AveragePooling2D(2), AdaptiveAveragePooling2D(5)],
    ],
    ids=["strided", "dilated", "padded", "adaptive"],
)
def test_the_receptive_field_is_as_far_as_gradients_reach(chain):
    model = network(*chain, shape=(33, 33, 1))
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    picture = tf.Variable(np.ones((1, 33, 33, 1), np.float32))
    with tf.GradientTape() as tape:
        output = model(picture)
        middle = output[0, output.shape[1] // 2, output.shape[2] // 2]
    reached = tape.gradient(middle, picture).numpy().any(axis=(0, 1, 3)).sum()
    assert describe(model)[-1].receptive_field == reached


def test_a_kernel_of_a_row_and_one_of_a_column_see_a_square():
    assert [row.receptive_field for row in rows_of(layers.Conv2D(4, (1, 7)), layers.Conv2D(4, (7, 1)))] == [7, 7]


@pytest.mark.parametrize("merge", [layers.Add, layers.Concatenate, layers.Multiply])
def test_where_branches_meet_the_largest_field_counts(merge):
    inputs = keras.Input((16, 16, 4), name="picture")
    branch = layers.Conv2D(4, 3, padding="same", name="near")(inputs)
    wide = layers.Conv2D(4, 5, padding="same", name="far")(branch)
    row = describe(keras.Model(inputs, merge(name="meet")([branch, wide, inputs])))[-1]
    assert (row.inputs, row.receptive_field) == (("near", "far", "picture"), 7)


def test_a_gate_has_seen_the_whole_picture_but_what_it_weighs_has_not():
    inputs = keras.Input((16, 16, 4))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Conv2D(8, 3, name="next")(layers.Multiply(name="weigh")([x, gate]))
    rows = {row.name: row for row in describe(keras.Model(inputs, x))}
    assert {name: rows[name].receptive_field for name in ("conv", "squeeze", "gate", "weigh", "next")} == {
        "conv": 3, "squeeze": None, "gate": None, "weigh": 3, "next": 5,
    }  # fmt: skip


@pytest.mark.parametrize("layer", [layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D(), layers.Flatten()])
def test_the_head_has_seen_the_whole_picture(layer):
    assert [row.receptive_field for row in rows_of(layer, layers.Dense(3), layers.Dropout(0.5))] == [None] * 3


def test_the_largest_window_of_an_adaptive_pooling_counts():
    # Of 5 rows: 0-1, 1-3, 3-4.
    assert rows_of(AdaptiveAveragePooling2D(3), shape=(5, 5, 1))[0].receptive_field == 3


# The graph


def test_operations_without_weights_are_rows_too():
    inputs = keras.Input((8, 8, 4), name="picture")
    first, second = keras.ops.split(layers.Conv2D(4, 3, name="conv")(inputs), 2, axis=-1)
    rows = describe(keras.Model(inputs, keras.ops.relu(keras.ops.concatenate([second, first], axis=-1))))
    assert [row.kind for row in rows] == ["InputLayer", "Conv2D", "Split", "Concatenate", "Relu"]
    assert rows[3].inputs == (rows[2].name, rows[2].name)
    assert (rows[4].output_shape, rows[4].receptive_field) == ((6, 6, 4), 3)


def test_a_part_of_a_network_can_be_described():
    model = cnn_tf.build("lenet5", (28, 28, 1), 10)
    part = keras.Model(model.inputs, model.layers[3].output)
    assert describe(part) == describe(model)[:4]


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([layers.SeparableConv2D(4, 3, name="strange")], "strange is a SeparableConv2D, which has weights"),
        ([layers.EinsumDense("bhwc,cd->bhwd", (16, 16, 5), name="mix")], "mix: .*Received: 'bhwc,cd->bhwd'"),
        ([layer := layers.Conv2D(4, 3, name="again"), layers.ReLU(), layer], "called twice"),
    ],
    ids=["unknown kind", "other einsum", "called twice"],
)
def test_layers_that_cannot_be_counted_are_named(chain, message):
    with pytest.raises(ValueError, match=message):
        rows_of(*chain)


def test_an_open_picture_size_is_refused():
    with pytest.raises(ValueError, match="open size"):
        rows_of(layers.Conv2D(4, 3), shape=(None, None, 3))


def test_neither_tensorflow_nor_keras_is_imported():
    code = "import sys, cnn_tf.description; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


# The smallest picture


def square(chain, size):
    """These layers anew for pictures size x size."""
    return network(*(type(layer).from_config(layer.get_config()) for layer in chain), shape=(size, size, 2))


def vanishes(chain, size):
    """Keras refuses to build it; older ones build a layer whose output has no rows."""
    try:
        return any(min(layer.output.shape[1:]) < 1 for layer in square(chain, size).layers)
    except ValueError as error:
        return "negative" in str(error)


@pytest.mark.parametrize(
    ("chain", "smallest"),
    [
        ([layers.Conv2D(4, 5), layers.AveragePooling2D(2), layers.Conv2D(4, 5), layers.AveragePooling2D(2)], 16),
        ([*(layers.MaxPooling2D(2) for _ in range(5)), layers.Flatten()], 32),
        ([layers.Conv2D(4, 11, strides=4), layers.MaxPooling2D(3, 2), layers.MaxPooling2D(3, 2)], 35),
        ([layers.ZeroPadding2D(((1, 0), (0, 1))), layers.Conv2D(4, (2, 7), dilation_rate=(7, 1))], 7),
        ([layers.ZeroPadding2D(1), layers.DepthwiseConv2D(5, 2), layers.GlobalAveragePooling2D()], 3),
    ],
    ids=["LeNet", "VGG", "AlexNet", "two sides", "padded"],
)
def test_the_smallest_picture_is_the_smallest_that_can_be_built(chain, smallest):
    assert smallest_size(square(chain, 64)) == smallest_size(square(chain, smallest)) == smallest
    assert vanishes(chain, smallest - 1)


def test_same_padding_never_vanishes():
    chain = [layers.Conv2D(4, 7, 2, padding="same"), layers.MaxPooling2D(3, 2, padding="same"), layers.Flatten()]
    assert smallest_size(network(*chain)) == 1


@pytest.mark.parametrize(
    "after",
    [
        [AdaptiveAveragePooling2D(3), layers.Conv2D(4, 3)],
        [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1)],
        [layers.Flatten(), layers.Dense(4)],
    ],
    ids=["adaptive", "global", "flat"],
)
def test_where_the_size_is_fixed_nothing_vanishes(after):
    assert smallest_size(network(layers.Conv2D(4, 3), *after)) == 3


def test_the_smallest_picture_of_inception_v3_is_the_one_that_keras_documents():
    assert smallest_size(application("InceptionV3")) == 75


def test_the_smallest_picture_of_a_network_for_pictures_of_any_size():
    assert smallest_size(network(layers.Conv2D(4, 3), layers.MaxPooling2D(2), shape=(None, None, 3))) == 4
