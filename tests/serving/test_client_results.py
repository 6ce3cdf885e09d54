"""What clients make of answers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from saved_models import half_plus_two, save
from support import CLASS_NAMES

from serving import errors
from serving.client import PredictClient, Prediction
from serving.client.results import Predictions
from serving.server import process

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)


def png(pixels):
    """As a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(file, "png")
    return file.getvalue()


def test_one_answer_for_each_picture(client):
    predictions = client.predict(PIXELS)
    assert len(predictions) == 3
    for number, each in enumerate(predictions):
        probabilities = predictions["probabilities"][number]
        assert isinstance(each, Prediction)
        assert each.version == predictions.version == 1
        assert each.label == CLASS_NAMES[probabilities.argmax()]
        assert each.probability == pytest.approx(probabilities.max())
        assert [score.label for score in each.top(2)] == [CLASS_NAMES[i] for i in np.argsort(-probabilities)[:2]]
        assert sum(score.probability for score in each.top()) == pytest.approx(1)
        np.testing.assert_array_equal(each["logits"], predictions["logits"][number])
        assert each.arrays["top_labels"].shape == (3,)
    assert [each.label for each in predictions[1:]] == [predictions[1].label, predictions[-1].label]


def test_the_answer_to_a_single_picture_is_its_prediction(client):
    one = client.predict(PIXELS[0])
    assert (one.label, one.probability, one.top(9)) == (one[0].label, one[0].probability, one[0].top(9))
    with pytest.raises(errors.InvalidArgument, match=r"to 3 examples. Take one of them: predictions\[0\].label"):
        _ = client.predict(PIXELS).label


def test_the_batch_is_a_mapping_of_arrays_too(client):
    predictions = client.predict(PIXELS, outputs=["logits", "probabilities"])
    assert dict(predictions).keys() == predictions.arrays.keys() == {"logits", "probabilities"}
    assert "logits" in predictions
    assert "top_labels" not in predictions
    assert "logits: (3, 3)" in repr(predictions)
    assert {name: array.shape for name, array in predictions.items()} == {"logits": (3, 3), "probabilities": (3, 3)}
    best = predictions["probabilities"].argmax(axis=1)
    assert [each.label for each in predictions] == [str(index) for index in best], "without names, a label is the index"


def test_an_answer_without_classes_says_what_was_expected(client):
    with pytest.raises(errors.FailedPrecondition, match="expected top_labels and top_scores, .* It has: logits"):
        client.predict(PIXELS, outputs=["logits"])[0].top()


def test_a_count_of_classes_is_none_below_zero(client):
    with pytest.raises(ValueError, match="0 or more. Received: -1"):
        client.predict(PIXELS)[0].top(-1)


def test_outputs_that_are_no_batch_are_arrays_alone():
    for arrays in ({"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros(())}, {}):
        with pytest.raises(errors.FailedPrecondition, match="no batch"):
            len(Predictions(arrays, 1))


def test_the_request_id_comes_with_the_answer(client):
    assert client.predict(PIXELS, request_id="mine")[0].request_id == "mine"
    assert len(client.predict(PIXELS).request_id) == 32


def test_classify_pictures(client, tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(png(PIXELS[0]))
    expected = client.predict(PIXELS)
    for given in ([file, *map(png, PIXELS[1:])], [str(file), png(PIXELS[1]), {"image/encoded": png(PIXELS[2])}]):
        answers = client.classify(given)
        assert [each.label for each in answers] == [each.label for each in expected]
        np.testing.assert_allclose(answers["scores"], expected["top_scores"], atol=1e-6)
        assert answers.version == 1
    assert client.classify(file).label == expected[0].label
    with pytest.raises(errors.InvalidArgument, match="Received: ndarray. Arrays go to predict"):
        client.classify(PIXELS)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A client of a model that classifies features: floats x, integers n, and text t, whose class is the text."""

    def classify(examples):
        kinds = {"x": tf.float32, "n": tf.int64, "t": tf.string}
        parsed = tf.io.parse_example(
            examples, {name: tf.io.FixedLenFeature((1,), kind) for name, kind in kinds.items()}
        )
        return {"classes": parsed["t"], "scores": parsed["x"] + tf.cast(parsed["n"], tf.float32)}

    folder = tmp_path_factory.mktemp("models")
    save(folder / "features" / "1", classify=(classify, tf.TensorSpec((None,), tf.string, name="inputs")))
    half_plus_two(folder / "half" / "1")
    with process.running([str(folder)]) as server, PredictClient(server.grpc_address, "features") as client:
        yield client


def test_classify_features(features):
    answers = features.classify([{"x": 0.5, "n": 2, "t": "a"}, {"x": [1.5], "n": [3], "t": [b"b"]}])
    assert [each.top() for each in answers] == [[("a", 2.5)], [("b", 4.5)]]
    with pytest.raises(errors.InvalidArgument, match="Feature 'x' must be of integers, floats, text or bytes"):
        features.classify({"x": 1j})


def test_classify_with_a_model_of_tensorflow_1(features):
    with PredictClient(features.address, "half") as client:
        assert client.classify([{"x": 2.0}]).top() == [("half", 3.0)]
        with pytest.raises(errors.InvalidArgument):
            client.classify([{"x": 2.0}], signature="none")
