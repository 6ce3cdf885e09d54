"""Every variant trains, is saved, exported and computed in half precision: a variant times each property.

Stages have two blocks at most, of which the first and the second differ and any other is like the second; `test_models` counts
them all. Deep networks have all their blocks here too.
"""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

import cnn_tf
from cnn_tf import alexnet, convnext, densenet, googlenet, mobilenet_v2, resnet, resnet_v2, vgg
from cnn_tf.promises import PROMISES

# These have more, or wider ones, of the blocks of smaller siblings, and nothing else: `make test-deep` runs them.
DEEP = {
    *("densenet121", "googlenet", "resnet50_v2"),
    *("vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    *(
        "alexnet_one_tower",
        "wide_resnet50",
        "resnet50_v1",
        "resnet34",
        "resnet101",
        "resnet152",
        "resnet101_v1",
        "resnet152_v1",
        "resnet101_v2",
        "resnet152_v2",
    ),
    *("resnet32", "resnet44", "resnet56", "resnet110", "plain56", "wrn28_10", "wrn40_4"),
}
NAMES = [pytest.param(name, marks=[pytest.mark.deep] * (name in DEEP)) for name in cnn_tf.MODELS]


def pictures(height, width, channels, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def small_size(name):
    """Small, and yet such that no layer is left with one pixel to normalise."""
    return {(224, 224): 96, (227, 227): 99, (96, 96): 48}.get(PROMISES[name].input[:2], PROMISES[name].input[0])


# One after the other, so that pytest keeps one network at a time.
@pytest.fixture(scope="module", params=NAMES)
def small(request):
    return _small(request.param)


def _small(name):
    gc.collect()  # the one before
    keras.utils.set_random_seed(0)
    size = small_size(name)
    return build(name, (size, size, PROMISES[name].input[2]), 7)


# Tables whose rows tell how many blocks a stage has.
STAGES = [
    (resnet.RESNETS, "num_blocks"),
    (resnet.CIFAR_RESNETS, "num_blocks"),
    (resnet_v2.RESNETS_V2, "num_blocks"),
    (densenet.DENSENETS, "num_layers"),
    (convnext.CONVNEXTS, "depths"),
]


# With a pooling and an auxiliary head behind them, or neither.
INCEPTIONS = ["stage3_b", "stage4_a", "stage4_e", "stage5_b"]


def build(name, input_shape, num_classes):
    """With few hidden units, since most of AlexNet's and VGG's weights would only be copied, and few blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "HIDDEN_UNITS", 64)
        patch.setattr(alexnet, "HIDDEN_UNITS", 64)
        if name not in DEEP:
            two = tuple(row._replace(num_blocks=min(row.num_blocks, 2)) for row in mobilenet_v2.TABLE_2)
            patch.setattr(mobilenet_v2, "TABLE_2", two)
            patch.setattr(googlenet, "INCEPTIONS", {name: googlenet.INCEPTIONS[name] for name in INCEPTIONS})
            for table, field in STAGES:
                for variant, row in table.items():
                    patch.setitem(table, variant, row._replace(**{field: [min(n, 2) for n in getattr(row, field)]}))
        return cnn_tf.build(name, input_shape, num_classes)


def test_the_same_seed_gives_the_same_network(small):
    keras.utils.set_random_seed(0)
    again = build(small.name, small.input_shape[1:], 7)
    assert [layer.name for layer in again.layers] == [layer.name for layer in small.layers]
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), small.get_weights(), strict=True))


def test_gradients_reach_every_weight(small):
    # Two passes, so that a ReLU that is dead for one is not for the other; biases before a normalisation get rounding errors.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(small(pictures(*small.input_shape[1:], count=4), training=True) ** 2)
    gradients = dict(
        zip([w.path for w in small.trainable_weights], tape.gradient(loss, small.trainable_variables), strict=True)
    )
    assert [path for path, gradient in gradients.items() if gradient is None or not np.any(gradient)] == []
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_save_and_load(small, tmp_path):
    small.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = pictures(*small.input_shape[1:])
    np.testing.assert_array_equal(loaded(images), small(images))


def test_saved_model(small, tmp_path):
    """Its graph and weights; what an export writes beside them, the objects of the layers, takes three times as long."""
    module = tf.Module()
    module.weights = [weight.value for weight in small.weights]
    module.serve = serve(small)
    tf.saved_model.save(module, str(tmp_path))
    assert_served(small, tmp_path)


# They have all layers of our own between them.
EXPORTED = ["lenet5_paper", "alexnet_paper", "vgg11_bn", "resnet20"]


@pytest.mark.parametrize("name", EXPORTED)
def test_layers_of_our_own_are_exported(name, tmp_path):
    model = _small(name)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve(model))
    archive.write_out(tmp_path, verbose=False)
    assert_served(model, tmp_path)


def serve(model):
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return tf.function(lambda images: model(tf.cast(images, tf.float32)), input_signature=[spec], autograph=False)


def assert_served(model, folder):
    images = pictures(*model.input_shape[1:], count=3)
    loaded = tf.saved_model.load(str(folder))
    np.testing.assert_allclose(loaded.serve(images), model(images), rtol=1e-4, atol=1e-4)


# Half precision has two forms, which only layers of our own could tell apart: one network of each kind is enough for float16.
HALF = ["lenet5_paper", "alexnet_paper", "vgg11_d2l", "resnet18", "resnext50", "mobilenet_v3_small", "convnext_tiny"]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *(pytest.param(*name.values, "mixed_bfloat16", marks=name.marks) for name in NAMES),
        *((name, "mixed_float16") for name in HALF),
    ],
)
def test_mixed_precision_odd_sizes_and_one_channel(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build(name, (small_size(name) + 1, small_size(name) + 8, 1), 3)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(pictures(*model.input_shape[1:]))
    assert (logits.shape, logits.dtype) == ((2, 3), tf.float32)
    assert np.isfinite(logits).all()
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_uint8_and_float_pictures_give_the_same_logits(small):
    images = pictures(*small.input_shape[1:])
    np.testing.assert_array_equal(small(images), small(images.astype(np.float32)))
