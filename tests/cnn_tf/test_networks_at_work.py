"""Networks train, are saved, exported and computed in half precision: one of each kind of block times each property.

Their stages have two blocks at most, of which the first and the second differ and any other is like the second; `test_models`
builds all variants and counts their blocks.
"""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

import cnn_tf
from cnn_tf import alexnet, convnext, densenet, googlenet, mobilenet_v3, resnet, resnet_v2, vgg
from cnn_tf.promises import PROMISES

# A kind of block each. The others have the same blocks, and all of them here too: `make test-deep` runs them.
KINDS = {
    *("lenet5_paper", "alexnet_paper", "vgg11_bn", "nin_cifar", "googlenet_paper", "resnet20", "resnext50"),
    *("wrn16_4", "densenet_d2l", "mobilenet_v3_small", "convnext_tiny"),
}
NAMES = [pytest.param(name, marks=[pytest.mark.deep] * (name not in KINDS)) for name in cnn_tf.MODELS]

# They have all layers of our own between them.
OF_OUR_OWN = ["lenet5_paper", "alexnet_paper", "vgg11_bn", "resnet20"]


def pictures(height, width, channels, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def small_size(name):
    """Small, and yet such that no layer is left with one pixel to normalise."""
    return {(224, 224): 96, (227, 227): 99, (96, 96): 48}.get(PROMISES[name].input[:2], PROMISES[name].input[0])


# One after the other, so that pytest keeps one network at a time.
@pytest.fixture(scope="module", params=NAMES)
def small(request):
    gc.collect()  # the one before
    keras.utils.set_random_seed(0)
    size = small_size(request.param)
    return build(request.param, (size, size, PROMISES[request.param].input[2]), 7)


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
        if name in KINDS:
            for variant, row in mobilenet_v3.MOBILENETS_V3.items():
                two = [stage[:2] for stage in row.stages]
                patch.setitem(mobilenet_v3.MOBILENETS_V3, variant, row._replace(stages=two))
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
    """As an export writes it; where no layer is of our own without the layers' objects, which take most of the time."""
    images = pictures(*small.input_shape[1:], count=3)
    spec = tf.TensorSpec((None, *images.shape[1:]), tf.uint8)
    serve = tf.function(lambda images: small(tf.cast(images, tf.float32)), input_signature=[spec], autograph=False)
    if small.name in OF_OUR_OWN:
        archive = keras.export.ExportArchive()
        archive.track(small)
        archive.add_endpoint("serve", serve)
        archive.write_out(tmp_path, verbose=False)
    else:
        module = tf.Module()
        module.weights = [weight.value for weight in small.weights]
        module.serve = serve
        tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.serve(images), small(images), rtol=1e-4, atol=1e-4)


# Half precision has two forms, which only layers of our own could tell apart, or small epsilons, which float16 does not have.
HALF = [*OF_OUR_OWN, "convnext_tiny"]


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
