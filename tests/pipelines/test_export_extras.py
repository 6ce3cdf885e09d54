"""What an export adds on request, all of it in one version."""

from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from encoded_pictures import png
from support import load_servable

import cnn_tf
from cnn_tf import options
from pipelines import calibration, checksums, commands, dataset, export, features, guards, model_card, optimization
from pipelines.config import ExportConfig
from pipelines.errors import ExportRefused
from pipelines.runs import Run
from pipelines.train import load_model


@pytest.fixture(scope="module")
def run(workplace):
    return Run(workplace / "runs" / "patterns")


@pytest.fixture(scope="module")
def model(run):
    """What is exported: the trained one, its kernels rounded to int8."""
    return optimization.optimize(load_model(run.model), "int8").model


@pytest.fixture(scope="module")
def noisy(data_set):
    """The data set, but one label in five is wrong, so that the model is too sure."""

    def spoil(split):
        wrong = np.arange(len(split)) % 5 == 0
        return dataclasses.replace(split, labels=np.where(wrong, (split.labels + 1) % 3, split.labels))

    return dataclasses.replace(data_set, splits={name: spoil(split) for name, split in data_set.splits.items()})


@pytest.fixture(scope="module")
def exported(run, noisy, tmp_path_factory):
    extras = {"embeddings": True, "lenient": True, "calibrate": True, "explain": True}
    config = ExportConfig(optimize="int8", **extras, max_pixels=28 * 28)
    return export.export(run, noisy, tmp_path_factory.mktemp("models"), "m", version=7, examples=4, config=config)


@pytest.fixture(scope="module")
def version(exported):
    return exported.folder


@pytest.fixture(scope="module")
def pictures(data_set, run):
    return export.read_pictures(data_set.held_out.take(slice(4)), run.config.data, (28, 28, 1))


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.fixture(scope="module")
def card(version):
    return (version / model_card.MARKDOWN_FILE).read_text()


def test_the_version_is_the_one_asked_for(exported):
    assert (exported.version, exported.folder.name) == (7, "7")


def test_the_limit_of_pixels_is_chosen_at_export(signatures):
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(png(np.zeros((28, 29, 3), np.uint8)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Picture 0 of the batch announces 812 pixels"):
        signatures["classify"](inputs=tf.constant([example.SerializeToString()]))


def test_one_bad_picture_does_not_fail_the_others(signatures, pictures):
    first, second, third, _ = pictures.encoded.numpy()
    expected = signatures["serving_bytes"](image_bytes=pictures.encoded[:3])
    answer = signatures["serving_bytes_lenient"](image_bytes=tf.constant([first, b"", second, second[:60], third]))
    assert answer["valid"].numpy().tolist() == [True, False, True, False, True]
    assert answer["problem"].numpy().tolist() == [b"", b"is empty", b"", guards.DAMAGED.encode(), b""]
    np.testing.assert_allclose(answer["probabilities"][::2], expected["probabilities"], atol=1e-6)
    assert answer["top_labels"][::2].numpy().tolist() == expected["top_labels"].numpy().tolist()
    assert np.isnan(answer["probabilities"][1::2]).all()
    assert np.isnan(answer["top_scores"][1::2]).all()
    assert (answer["top_classes"][1::2].numpy() == -1).all()
    assert (answer["top_labels"][1::2].numpy() == b"").all()


def test_embeddings_are_answered_with_logits(signatures, model, pictures, card):
    assert "embeddings" not in signatures["classify"].structured_outputs
    expected = keras.Model(model.input, model.get_layer("head_dense2_sigmoid").output)(pictures.images)
    by_array = signatures["serving_default"](images=pictures.images)["embeddings"]
    by_bytes = signatures["serving_bytes"](image_bytes=pictures.encoded)["embeddings"]
    np.testing.assert_allclose(by_array, expected, atol=1e-5)
    np.testing.assert_array_equal(by_bytes, by_array)
    bad = tf.concat([pictures.encoded[:1], [b"no picture"]], 0)
    first, second = signatures["serving_bytes_lenient"](image_bytes=bad)["embeddings"].numpy()
    np.testing.assert_allclose(first, expected[0], atol=1e-5)
    assert np.isnan(second).all()
    assert "- `embeddings` are the 84 values " in card


def test_an_export_whose_embeddings_differ_is_refused(version, exported, model, pictures, data_set):
    temperature = exported.calibration.temperature
    expected = export.expect(model, pictures.images, data_set.class_names, ExportConfig(embeddings=True), temperature)
    images = export.Endpoint(None, tf.TensorSpec((None, 28, 28, 1), tf.uint8, "images"), lambda given: given.images)
    assert export.check({"serving_default": images}, version, pictures, expected) < 1e-4
    expected.outputs["embeddings"][3, 7] += 0.01
    with pytest.raises(ExportRefused, match="differs from the trained model by 0.01"):
        export.check({"serving_default": images}, version, pictures, expected)


def test_probabilities_are_calibrated_on_the_validation_pictures_and_logits_stay(
    signatures, exported, model, pictures, noisy, run, card
):
    def logits(split):
        return model(dataset.pictures(split, run.config.data, (28, 28, 1))).numpy().astype(np.float64)

    kept, test = noisy.splits["train"].take(slice(-100, None)), noisy.splits["test"]  # the run's validation_examples
    found, temperature = exported.calibration, calibration.temperature(logits(kept), kept.labels)
    assert (found.temperature, found.examples) == (pytest.approx(temperature, rel=1e-3), 100)
    for error, divisor in ((found.error_before, 1), (found.error_after, temperature)):
        probabilities = tf.nn.softmax(logits(test) / divisor).numpy()
        assert error == pytest.approx(calibration.expected_calibration_error(probabilities, test.labels), abs=1e-4)
    answer = signatures["serving_bytes"](image_bytes=pictures.encoded)
    np.testing.assert_allclose(answer["logits"], model(pictures.images), atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(answer["logits"] / temperature), atol=1e-4)
    np.testing.assert_allclose(answer["top_scores"][:, 0], tf.reduce_max(answer["probabilities"], axis=1))
    assert f"the softmax of `logits` / {found.temperature:.3f}, a temperature found on 100 validation pictures" in card
    assert model_card.read(exported.folder)["calibration"] == dataclasses.asdict(found)


def test_heat_maps_are_those_of_eager_keras(signatures, model, pictures, noisy, card):
    answer = {name: value.numpy() for name, value in signatures["explain"](image_bytes=pictures.encoded).items()}
    network = keras.Model(model.input, [model.get_layer("stage2_pool").output, model.output])
    for index, image in enumerate(tf.cast(pictures.images, tf.float32)):
        with tf.GradientTape() as tape:
            tape.watch(image)
            maps, logits = network(image[tf.newaxis])
            best = int(tf.argmax(logits[0]))
            logit = logits[0, best]
        heat = np.maximum((maps[0].numpy() * tape.gradient(logit, maps)[0].numpy()).sum(axis=2), 0)
        heat = tf.image.resize(heat[..., np.newaxis], (28, 28)).numpy()[..., 0]
        np.testing.assert_allclose(answer["heat_map"][index], heat / max(heat.max(), 1e-30), atol=1e-3)
        assert answer["label"][index].decode() == noisy.class_names[best]
    assert 0 <= answer["heat_map"].min() < answer["heat_map"].max() == 1
    default = signatures["serving_default"](images=pictures.images)
    np.testing.assert_allclose(answer["score"], default["top_scores"][:, 0], atol=1e-5)
    assert "- `explain` answers with a heat map" in card


def test_the_embedded_server_freezes_it_and_explains(version, signatures, pictures):
    servable = load_servable(version)
    assert servable.summary.startswith("frozen")
    expected = signatures["explain"](image_bytes=pictures.encoded)
    answer = servable.run({"image_bytes": pictures.encoded.numpy()}, "explain")
    np.testing.assert_allclose(answer["heat_map"], expected["heat_map"], atol=1e-3)
    assert answer["label"].tolist() == expected["label"].numpy().tolist()
    servable.close()


# What the last layer with weights takes, in the networks' papers.
@pytest.mark.parametrize(
    ("name", "side", "dimensions"),
    [("nin", 128, 384), ("nin_cifar", 32, 192), ("resnet20", 32, 64), ("lenet5", 28, 84)],
)
def test_how_many_embeddings_there_are(name, side, dimensions):
    with options.without_weights():
        network = cnn_tf.build(name, (side, side, 3), 10)
    assert [x.shape for x in features.with_embeddings(network).outputs] == [(None, 10), (None, dimensions)]


def test_a_map_is_averaged_over_space():
    network = cnn_tf.build("nin_cifar", (32, 32, 3), 10)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
    logits, embeddings = features.with_embeddings(network)(images)
    maps = keras.Model(network.input, network.get_layer("stage3_2_relu").output)(images)
    np.testing.assert_allclose(embeddings, maps.numpy().mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(logits, network(images))


def test_it_answers_as_the_rounded_network_and_what_that_loses_is_known(exported, signatures, model, run, noisy):
    split = noisy.splits["test"]
    shown = export.read_pictures(split, run.config.data, (28, 28, 1))
    answer = signatures["serving_default"](images=shown.images)
    np.testing.assert_allclose(answer["logits"], model(shown.images), atol=1e-4)
    right = np.mean(np.argmax(answer["logits"], axis=1) == split.labels)
    difference = np.abs(tf.nn.softmax(answer["logits"]) - tf.nn.softmax(load_model(run.model)(shown.images))).max()
    assert exported.worth.accuracy == pytest.approx(right)
    assert exported.worth.max_difference == pytest.approx(difference, rel=0.01)
    assert 0 < difference < 0.05
    assert exported.worth.accuracy_drop == pytest.approx(0, abs=1)


def test_it_is_small_and_whole(exported, workplace):
    plain = workplace / "models" / "patterns" / "1"

    def weights(folder):
        return sum(file.stat().st_size for file in (folder / "variables").iterdir())

    assert weights(exported.folder) < 0.35 * weights(plain)
    assert checksums.findings(exported.folder) == []


def test_the_card_tells_its_worth_and_its_own_evaluation(exported):
    card = model_card.read(exported.folder)
    told = card["optimization"]
    assert (told["name"], told["xla"], told["split"], told["examples"]) == ("int8", False, "test", 120)
    assert told["accuracy"] == card["evaluation"]["accuracy"] == exported.worth.accuracy
    assert told["float32_weight_bytes"] / told["weight_bytes"] > 3
    assert min(told["ms"], told["float32_ms"], told["time_ratio"]) > 0
    page = (exported.folder / model_card.MARKDOWN_FILE).read_text()
    assert told["folded_layers"] > 0
    assert f"| Batch normalizations folded | {told['folded_layers']} | |" in page
    assert "## Optimization\n\n`int8`: batch normalization folded" in page
    assert f"Run in turns, it took {told['time_ratio']:.2f} times as long in the median turn." in page


def test_the_command_prints_a_table(exported, capsys):
    commands.print_worth(dataclasses.replace(exported.worth, folded_layers=0), "int8")
    printed = capsys.readouterr().out
    assert "accuracy, test" in printed
    assert "times as long on this CPU" in printed
    assert re.search("normalizations folded .* there are none", printed)
