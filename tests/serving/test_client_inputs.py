"""What clients take for an input, and what they refuse before it is sent."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from clients import serving
from PIL import Image
from saved_models import save

from serving import errors
from serving.client import AsyncPredictClient, PredictClient
from serving.server import process

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int64", "bool", "string"]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a server with a model for each data type, which answers with its input, and `two`, which takes two inputs."""
    folder = tmp_path_factory.mktemp("models")
    for name in DTYPES:
        save(
            folder / name / "1", serving_default=(lambda x: {"y": tf.identity(x)}, tf.TensorSpec((None, 2), name, "x"))
        )
    numbers = (tf.TensorSpec((None,), name="a"), tf.TensorSpec((None,), name="b"))
    save(
        folder / "two" / "1",
        serving_default=(lambda a, b: {"y": a + b}, *numbers),
        other=(lambda a: {"y": a}, numbers[0]),
    )
    with process.running([str(folder)]) as server:
        yield server.grpc_address


@pytest.fixture
def predict(address):
    """Asks a model."""

    def ask(model, inputs, **options):
        with PredictClient(address, model) as client:
            return client.predict(inputs, **options)

    return ask


def png(pixels):
    """As a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for number, pixels in enumerate(PIXELS):
        (folder / f"{number}.png").write_bytes(png(pixels[..., 0]))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("name", DTYPES[:-1])
def test_arrays_of_each_type_arrive_as_they_are(predict, name):
    array = np.array([[0, 1], [1, 0]], ml_dtypes.bfloat16 if name == "bfloat16" else name)
    answer = predict(name, {"x": array})["y"]
    assert answer.dtype == array.dtype
    assert answer.tolist() == array.tolist()


@pytest.mark.parametrize("name", DTYPES[:-2])
def test_numbers_in_lists_take_the_inputs_type(predict, name):
    assert predict(name, [[1, 2], [3, 4]])["y"].tolist() == [[1, 2], [3, 4]]
    assert predict(name, [1, 2])["y"].tolist() == [[1, 2]]


def test_text_and_bytes(predict):
    for given in (
        [["a", "é"]],
        [[b"a", "é".encode()]],
        np.array([["a", "é"]]),
        np.array([[b"a", "é".encode()]], object),
    ):
        assert predict("string", {"x": given})["y"].tolist() == [[b"a", "é".encode()]]


@pytest.mark.parametrize(
    ("given", "model", "message"),
    [
        ([[0.5, 1]], "int64", "must be int64 (batch, 2). Received: float64 (1, 2)"),
        ([[1, 256]], "uint8", "must be uint8 (batch, 2). Received: int64 (1, 2)"),
        ([[1, -1]], "uint8", "must be uint8 (batch, 2). Received: int64 (1, 2)"),
        (np.ones((1, 2)), "float32", "must be float32 (batch, 2). Received: float64 (1, 2). Convert it: astype."),
        ([["a", "b"]], "float32", "must be float32 (batch, 2). Received: string (1, 2)."),
        (np.ones((1, 3), "float32"), "float32", "must be float32 (batch, 2). Received: float32 (1, 3)."),
        ([[1, 2], [3]], "float32", "is no array of one shape"),
        (np.ones(2, "float32"), "two", "Name them: a, b."),
        ({"a": [1.0]}, "two", "takes the inputs: a, b. Received: a."),
    ],
)
def test_a_misfit_is_told_with_what_was_expected_and_received(predict, given, model, message):
    given = given if isinstance(given, dict) or model == "two" else {"x": given}
    with pytest.raises(errors.InvalidArgument) as error:
        predict(model, given)
    assert message in str(error.value)
    assert error.value.request_id == "", "it was not sent"


def test_an_unknown_signature_is_told_with_those_there_are(predict):
    with pytest.raises(
        errors.FailedPrecondition, match="no signature 'none'. Expected one of: .*other, serving_default"
    ):
        predict("two", {"a": [1]}, signature="none")
    with pytest.raises(
        errors.FailedPrecondition, match="takes no encoded pictures: expected a signature 'serving_bytes'"
    ):
        predict("int8", [b"picture"])


def test_named_or_not_encoded_or_not_pictures_get_the_same_answer(client, files):
    expected = client.predict({"images": PIXELS})["probabilities"]
    encoded = [file.read_bytes() for file in files]
    images = [Image.open(io.BytesIO(picture)) for picture in encoded]
    for given in (
        PIXELS, PIXELS.tolist(), list(PIXELS), images,
        encoded, np.array(encoded, object), [bytearray(picture) for picture in encoded], [memoryview(p) for p in encoded],
        files, [str(file) for file in files], [encoded[0], files[1], str(files[2])],
        {"images": images},
    ):  # fmt: skip
        np.testing.assert_array_equal(client.predict(given)["probabilities"], expected)
    for one in (PIXELS[0], images[0], encoded[0], files[0], str(files[0])):
        np.testing.assert_allclose(client.predict(one)["probabilities"], expected[:1], atol=1e-6)
    named = client.predict({"image_bytes": files}, signature="serving_bytes")
    np.testing.assert_array_equal(named["probabilities"], expected)


def test_a_file_that_is_not_there(client):
    with pytest.raises(FileNotFoundError, match="none.png"):
        client.predict(Path("none.png"))


async def _ask(address, files):
    async with AsyncPredictClient(address, "patterns") as client:
        return (await client.predict(files))["probabilities"]


def test_files_with_asyncio(server, client, files):
    import asyncio

    np.testing.assert_array_equal(
        asyncio.run(_ask(server.grpc_address, files)), client.predict(PIXELS)["probabilities"]
    )


def colours(mode):
    """28 x 28 pixels of PIL's `mode`."""
    levels = np.random.default_rng(1).integers(0, 256, (28, 28, 4), np.uint8)
    image = Image.fromarray(levels, "RGBA") if mode != "CMYK" else Image.fromarray(levels, "CMYK")
    return image.convert("RGB").quantize(16) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_an_image_is_what_the_model_decodes_of_its_file(client, mode):
    file = io.BytesIO()
    colours(mode).save(file, "png")
    by_image, by_file = client.predict(colours(mode)), client.predict(file.getvalue())
    np.testing.assert_allclose(by_image["logits"], by_file["logits"], atol=1e-5)


def test_an_image_is_turned_as_its_file_is(client):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    colours("RGB").save(file, "png", exif=exif)
    with Image.open(file) as image:
        by_image = client.predict(image)["logits"]
    np.testing.assert_allclose(by_image, client.predict(file.getvalue())["logits"], atol=1e-5)


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_an_image_of_more_bits_is_refused(client, mode):
    with pytest.raises(errors.InvalidArgument, match="Expected a picture of 8 bits"):
        client.predict(Image.new(mode, (28, 28)))


def test_images_of_several_sizes_are_no_batch(client):
    with pytest.raises(errors.InvalidArgument, match="'images' is no array of one shape"):
        client.predict([Image.new("L", (28, 28)), Image.new("L", (28, 29))])


def test_images_and_arrays_may_be_one_batch(client):
    image, array = Image.fromarray(PIXELS[0, ..., 0]), PIXELS[1]
    for given in ([image, array], [array, image]):
        expected = client.predict(np.stack([PIXELS[0], PIXELS[1]][:: 1 if given[0] is image else -1]))
        np.testing.assert_array_equal(client.predict(given)["logits"], expected["logits"])


@pytest.mark.parametrize("is_first", [True, False])
def test_images_and_files_are_no_batch(client, files, is_first):
    pair = [Image.new("L", (28, 28)), files[0]]
    with pytest.raises(errors.InvalidArgument, match="Received: .* beside a picture of PIL"):
        client.predict(pair if is_first else pair[::-1])


def test_a_server_that_does_not_tell_what_models_take():
    def unimplemented(request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")

    with serving(unimplemented) as address, PredictClient(address, "m") as client:
        with pytest.raises(errors.Unimplemented, match="Is this the gRPC port of TensorFlow Serving"):
            client.predict(PIXELS)
        with pytest.raises(errors.Unimplemented, match="Is this the gRPC port of TensorFlow Serving"):
            next(client.map([b"a"]))
        with pytest.raises(errors.Unimplemented, match="^unknown method"):
            client.predict({"x": PIXELS})


def test_the_client_brings_no_pil():
    code = "import sys, serving.client; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
