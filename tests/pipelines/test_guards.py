"""What the headers of pictures tell, and what is refused before it is decoded."""

from __future__ import annotations

import functools
import struct

import numpy as np
import pytest
import tensorflow as tf
from encoded_pictures import EXIF, FILES, PHOTO, SEGMENTS, animated_webp, chunk, encode, segment, with_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import guards, headers, transforms

LIMIT = 10_000
SHAPE = (24, 40, 3)
GOOD = FILES["jpeg"]
each = settings(derandomize=True, deadline=None, max_examples=60)


@functools.cache
def graph(kind):
    spec = tf.TensorSpec(SHAPE, tf.uint8)
    function = {
        "problems": lambda encoded: guards.problems(encoded, LIMIT),
        "headers": headers.read,
        "all": guards.decode_all(transforms.decode_and_fit(SHAPE), spec, LIMIT),
        "each": guards.decode_each(transforms.decode_and_fit(SHAPE), spec, LIMIT),
    }[kind]
    return tf.function(function, input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)


@functools.cache
def unguarded():
    """Decodes one picture."""
    return tf.function(
        transforms.decode_and_fit(SHAPE), input_signature=[tf.TensorSpec((), tf.string)], autograph=False
    )


def read(encoded):
    return headers.Headers(*(value.numpy()[0] for value in graph("headers")(tf.constant([encoded]))))


def problem(encoded):
    return graph("problems")(tf.constant([encoded])).numpy()[0].decode()


def announcing(width, height):
    """Of each format, a small file that announces a picture of that size."""
    jpeg = {}
    for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        place = GOOD.index(b"\xff\xc0")
        frame = bytes([0xFF, marker]) + GOOD[place + 2 : place + 5] + struct.pack(">HH", height, width)
        jpeg[f"jpeg {marker:x}"] = GOOD[:place] + frame + GOOD[place + 9 :]
    png, bmp, gif = FILES["png RGB"], FILES["bmp RGB"], FILES["gif"]
    still, lossless, extended = (
        FILES[name] for name in ("webp lossless=False", "webp lossless=True", "webp alpha lossless=False")
    )
    return {
        **jpeg,
        "png": png[:16] + struct.pack(">II", width, height) + png[24:],
        "bmp": bmp[:18] + struct.pack("<ii", width, height) + bmp[26:],
        "bmp from the top": bmp[:18] + struct.pack("<ii", width, -height) + bmp[26:],
        "gif screen": gif[:6] + struct.pack("<HH", width, height) + gif[10:],
        "gif frame": gif.replace(struct.pack("<HHHH", 0, 0, 62, 45), struct.pack("<HHHH", 0, 0, width, height), 1),
        "webp lossy": still[:26] + struct.pack("<HH", width, height) + still[30:],
        "webp lossless": lossless[:21] + struct.pack("<I", width - 1 | height - 1 << 14) + lossless[25:],
        "webp extended": extended[:24]
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
        + extended[30:],
    }  # fmt: skip


@pytest.mark.parametrize("name", announcing(1, 1))
def test_a_picture_that_announces_too_many_pixels_is_refused(name):
    assert problem(announcing(100, 100)[name]) in ("", "has 255 channels, which are not decoded")
    encoded = announcing(16_000, 9_000)[name]
    assert problem(encoded) == "announces 144000000 pixels; at most 10000 are decoded"
    with pytest.raises(tf.errors.InvalidArgumentError, match="Picture 1 of the batch announces 144000000 pixels"):
        graph("all")(tf.constant([GOOD, encoded, GOOD]))


def test_sizes_beyond_64_bits_do_not_wrap_around():
    png, bmp = announcing(1, 1)["png"], announcing(1, 1)["bmp"]
    for encoded in (png[:16] + b"\xff" * 8 + png[24:], bmp[:18] + b"\x00\x00\x00\x80" * 2 + bmp[26:]):
        assert "at most 10000 are decoded" in problem(encoded)


def test_all_frames_of_a_gif_count():
    """Each is unpacked, though only the first is shown."""
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (45, 62), dtype=np.uint8)) for i in range(5)]
    encoded = encode(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert read(encoded).pixels == 5 * 45 * 62
    assert problem(encoded) == "announces 13950 pixels; at most 10000 are decoded"


@pytest.mark.parametrize("block", [b"!\xfe\x00", b"!\xfe" + b"\x01a" * 100 + b"\x00"])
def test_a_gif_of_endless_blocks_is_refused(block):
    assert problem(FILES["gif"][:-1] + block * 200_000 + b";") == "has a damaged header"


@pytest.mark.parametrize("name", FILES)
def test_good_pictures_pass_and_come_out_as_they_are(name):
    encoded = FILES[name]
    header = read(encoded)
    assert (problem(encoded), header.is_whole) == ("", True)
    assert header.pixels == 45 * 62 * (2 if name == "gif moving" else 1)
    expected = unguarded()(tf.constant(encoded))
    for images in (graph("all")(tf.constant([encoded])), graph("each")(tf.constant([encoded]))[0]):
        np.testing.assert_array_equal(images[0], expected)


@pytest.mark.parametrize("name", EXIF)
def test_annotations_do_not_hide_the_size(name):
    assert read(EXIF[name][1]).pixels == 45 * 62


JUNK = [
    b"",
    b"\xff",
    b"\xff\xff\xff",
    b"\0" * 16,
    b"\xff\0" * 20,
    b"junk" * 9,
    b"\xff\x01",
    b"\xff\xd0",
    b"\xff\xe1\0\0",
]


@each
@given(st.lists(st.tuples(st.sampled_from(SEGMENTS), st.binary(max_size=60), st.sampled_from(JUNK)), max_size=6))
def test_the_size_of_a_jpeg_is_the_one_that_libjpeg_sees(parts):
    encoded = with_segments(*(segment(content, marker) + junk for marker, content, junk in parts))
    try:
        height, width, channels = tf.image.extract_jpeg_shape(encoded).numpy()
    except tf.errors.InvalidArgumentError:
        return
    assert (read(encoded).pixels, read(encoded).channels) == (height * width, channels)


def two_channels(encoded):
    """A JPEG whose frame says so."""
    place = encoded.index(b"\xff\xc0")
    return encoded[: place + 9] + b"\2" + encoded[place + 10 :]


WRONG = {
    "empty": (b"", "is empty"),
    "text": (b"text", "is no JPEG, PNG, GIF, BMP or WebP"),
    "tiff": (encode(PHOTO, "tiff"), "is no JPEG, PNG, GIF, BMP or WebP"),
    "jpeg xl": (b"\xff\x0a" + bytes(50), "is no JPEG, PNG, GIF, BMP or WebP"),
    "no frame": (GOOD[:20], "has a damaged header"),
    "no header": (b"\x89PNG\r\n\x1a\n", "has a damaged header"),
    "no IHDR": (FILES["png RGB"][:8] + chunk(b"tEXt", b"a\0b") + FILES["png RGB"][8:], "has a damaged header"),
    "endless": (with_segments(*[segment(b"")] * 2000), "has a damaged header"),
    "animated": (animated_webp(90), "is an animated WebP, which is not decoded"),
    "two channels": (two_channels(GOOD), "has 2 channels, which are not decoded"),
    "unknown colours": (FILES["png RGB"][:25] + b"\5" + FILES["png RGB"][26:], "has 0 channels, which are not decoded"),
    "one bit": (encode(PHOTO.convert("1"), "bmp"), "has 0 channels, which are not decoded"),
    "half a jpeg": (GOOD[: len(GOOD) // 2], guards.DAMAGED),
    "half a png": (FILES["png RGB"][: len(FILES["png RGB"]) // 2], guards.DAMAGED),
    "half a webp": (FILES["webp lossless=True"][:600], guards.DAMAGED),
    "half a bmp": (FILES["bmp RGB"][:600], guards.DAMAGED),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_place_in_the_batch(name):
    encoded, reason = WRONG[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Picture 2 of the batch {reason}"):
        graph("all")(tf.constant([GOOD, FILES["png RGB"], encoded, GOOD]))


def test_one_bad_picture_does_not_fail_the_others():
    damaged_inside = bytearray(FILES["png RGB"])
    damaged_inside[100] ^= 0xFF
    bad = [*WRONG.values(), (bytes(damaged_inside), guards.DAMAGED)]
    images, problems = graph("each")(tf.constant([GOOD, *(encoded for encoded, _ in bad), FILES["gif"]]))
    assert [text.decode() for text in problems.numpy()] == ["", *(reason for _, reason in bad), ""]
    for place, encoded in ((0, GOOD), (-1, FILES["gif"])):
        np.testing.assert_array_equal(images[place], transforms.decode_and_fit(SHAPE)(tf.constant(encoded)))
    assert not images[1:-1].numpy().any()


@pytest.mark.parametrize("kind", ["all", "each"])
def test_a_batch_may_be_empty(kind):
    images = graph(kind)(tf.constant([], tf.string))
    assert (images if kind == "all" else images[0]).shape == (0, *SHAPE)


def test_a_batch_of_only_bad_pictures_has_answers():
    _, problems = graph("each")(tf.constant([b"", b"text"]))
    assert [text.decode() for text in problems.numpy()] == ["is empty", "is no JPEG, PNG, GIF, BMP or WebP"]
