from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidArgument
from serving.server.security.pixels import pixels, require_small_pictures

KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def encoded(kind, width=30, height=20, frames=1, **options):
    buffer = io.BytesIO()
    # Frames that differ, since a writer may join those that are alike.
    pictures = [Image.fromarray(np.full((height, width, 3), 40 * n, np.uint8)) for n in range(frames)]
    if frames > 1:
        options |= {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(buffer, kind, **options)
    return buffer.getvalue()


def announcing(width, height):
    """A few bytes that begin like a PNG of this size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(1, 300))
def test_the_size_of_every_kind_is_read(kind, width, height):
    assert pixels(encoded(kind, width, height)) == width * height


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(40_000), "comment": b"\xff\xc0\xff\xd9", "icc_profile": bytes(100_000)}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
        ("PNG", {"compress_level": 0}),
    ],
)
def test_the_size_is_found_behind_other_blocks(kind, options):
    assert pixels(encoded(kind, 31, 17, **options)) == 31 * 17


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_every_frame_counts(kind):
    assert pixels(encoded(kind, 30, 20, frames=5)) == 5 * 30 * 20


def test_what_tensorflow_writes_is_read():
    picture = tf.zeros((12, 34, 3), tf.uint8)
    assert pixels(tf.io.encode_jpeg(picture).numpy()) == pixels(tf.io.encode_png(picture).numpy()) == 12 * 34


@given(st.sampled_from(KINDS), st.integers(0, 2000), st.binary(max_size=40), st.integers(1, 3))
def test_damage_never_raises(kind, cut, junk, frames):
    whole = encoded(kind, frames=frames if kind in ("GIF", "WEBP") else 1)
    assert pixels(whole[:cut] + junk) >= 0


@given(st.binary())
def test_anything_else_passes(data):
    require_small_pictures({"x": np.array([data, b"BM a text", b"\n", b"GIF8"], object)}, 10)


def test_the_first_that_is_too_large_is_named():
    small, large = encoded("PNG"), announcing(65535, 65535)
    inputs = {"key": np.zeros(3), "images": np.array([[small, small], [small, large]], object)}
    with pytest.raises(InvalidArgument, match=r"images\[1, 1\] is too large: it has 4,294,836,225 pixels"):
        require_small_pictures(inputs, 178_956_970)
    require_small_pictures(inputs, 0)
    require_small_pictures({"images": np.array(large)}, 65535 * 65535)


def test_pictures_in_examples_are_found():
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"text", announcing(9999, 9999)]))
    example = tf.train.Example(features=tf.train.Features(feature={"image": feature}))
    with pytest.raises(InvalidArgument, match=r"inputs\[0\]"):
        require_small_pictures({"inputs": np.array([example.SerializeToString()], object)}, 1_000_000)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xff\xd8" + b"\xff\x01" * 1_100_000,
        b"GIF89a\x01\0\x01\0\0\0\0" + b"!\xf9" + b"\x01a" * 1_100_000,
        b"RIFF\0\0\0\0WEBPVP8X" + bytes(14) + bytes(8) * 1_100_000,
    ],
)
def test_a_picture_that_hides_its_size_is_refused(bomb):
    with pytest.raises(InvalidArgument, match="blocks"):
        pixels(bomb)


def test_padding_costs_no_time_to_speak_of():
    assert pixels(b"\xff\xd8" + b"\xff" * 50_000_000 + encoded("JPEG", 5, 4)[3:]) == 20
