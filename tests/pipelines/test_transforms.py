from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from encoded_pictures import (
    EXIF,
    EXIF6,
    FILES,
    PHOTO,
    SEGMENTS,
    animated_webp,
    encode,
    exif,
    photo,
    png,
    segment,
    with_segments,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipelines import transforms

GOLDEN = Path(__file__).parent / "golden"
each = settings(derandomize=True, deadline=None, max_examples=60)
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def shown_by_pillow(encoded, channels):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if channels == 1 and image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(image.height, image.width, channels)


@functools.cache
def decoder(channels):
    return tf.function(transforms.decode(channels), input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def decode(encoded, channels=3):
    return decoder(channels)(tf.constant(encoded)).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_decodes_to_what_pillow_shows(name, channels):
    np.testing.assert_array_equal(decode(FILES[name], channels), shown_by_pillow(FILES[name], channels))


def test_grey_of_a_colour_jpeg_is_its_own_luma():
    encoded = encode(PHOTO, "jpeg", subsampling=2)
    image = Image.open(io.BytesIO(encoded))
    image.draft("L", image.size)
    np.testing.assert_array_equal(decode(encoded, 1)[..., 0], image)


def test_sixteen_bits_keep_the_upper_eight():
    image = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    np.testing.assert_array_equal(decode(png(image)), image >> 8)
    grey = Image.fromarray(image[..., 0])
    np.testing.assert_array_equal(decode(encode(grey, "png"), 1), image[..., :1] >> 8)


# Orientation


def orientations_of(encoded, stored):
    """1 to 8, whichever turns what is stored to what is shown."""
    shown = decode(encoded)
    return [orientation for orientation in range(1, 9) if np.array_equal(turned(stored, orientation), shown)]


def turned(image, orientation):
    made = Image.fromarray(image)
    made.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(made))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_turns_as_pillow_does(kind, orientation, order):
    encoded = encode(PHOTO, kind, exif=b"Exif\0\0" + exif(orientation, order))
    np.testing.assert_array_equal(decode(encoded), shown_by_pillow(encoded, 3))
    np.testing.assert_array_equal(decode(encoded, 1), shown_by_pillow(encoded, 1))


@pytest.mark.parametrize("name", EXIF)
def test_finds_orientation_where_the_standard_has_it_and_nowhere_else(name):
    expected, encoded = EXIF[name]
    stored = np.asarray(PHOTO) if name.startswith("png") else decode(with_segments())
    assert orientations_of(encoded, stored) == [expected]


@each
@given(st.lists(st.tuples(st.sampled_from(SEGMENTS), st.binary(max_size=60)), max_size=5), st.booleans())
def test_no_segments_keep_a_picture_from_being_decoded(contents, behind_jfif):
    segments = [segment(content, marker) for marker, content in contents]
    encoded = with_segments(*segments, behind_jfif=behind_jfif)
    np.testing.assert_array_equal(decode(encoded), decode(with_segments()))


@each
@given(st.sampled_from([b"", b"II*\0", b"MM\0*", exif(6)[:10], exif(6, ">")[:22]]), st.binary(max_size=60))
def test_no_exif_keeps_a_picture_from_being_decoded(begin, content):
    encoded = with_segments(segment(b"Exif\0\0" + begin + content))
    assert len(orientations_of(encoded, decode(with_segments()))) == 1


@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_webp_that_lies_about_its_length_is_refused_or_decoded(length):
    webp = encode(PHOTO, "webp", exif=exif(6), lossless=True)
    place = webp.index(b"EXIF") + 4
    encoded = webp[:place] + struct.pack("<I", length) + webp[place + 4 :]
    assert orientations_of(encoded, np.asarray(PHOTO))


# What is refused

BMP = encode(PHOTO.quantize(5), "bmp")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"B", b"BM", b"GIF8", b"RIFF", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"text", bytes(100)),
        FILES["jpeg"][: len(FILES["jpeg"]) // 2],
        FILES["png RGB"][: len(FILES["png RGB"]) // 2],
        BMP[:30] + b"\1" + BMP[31:],  # says that it is compressed
        FILES["bmp RGBA"][:30] + b"\3" + FILES["bmp RGBA"][31:],  # has masks of its own for the colours
        BMP[:46] + b"\2" + BMP[47:],  # uses colours that its palette has not
        encode(PHOTO.convert("1"), "bmp"),
        encode(PHOTO, "tiff"),
    ],
)
def test_what_is_no_picture_or_of_another_kind_is_refused(content, channels):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(content, channels)


# Sizes


@functools.cache
def fitter(*arguments):
    return tf.function(
        transforms.fit(*arguments), input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)], autograph=False
    )


def fit(image, *arguments):
    return fitter(*arguments)(tf.constant(image)).numpy()


def assert_near(actual, expected, largest, mean):
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= largest
    assert difference.mean() <= mean


FITS = ("stretch", "crop", "letterbox")
INTERPOLATIONS = ("bilinear", "bicubic", "area")


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize(("height", "width"), [(97, 131), (29, 20), (20, 131), (48, 33), (1, 3), (300, 2)])
def test_is_within_one_level_of_pillow(height, width, interpolation):
    image = photo(height, width)
    expected = np.asarray(Image.fromarray(image).resize((40, 24), PILLOW[interpolation]))
    assert_near(fit(image, 24, 40, "stretch", interpolation), expected, 1, 0.35)


@pytest.mark.parametrize("name", np.load(GOLDEN / "transforms.npz").files)
def test_is_within_one_level_of_torchvision(name):
    height, width, size, how, interpolation = name.split()
    actual = fit(photo(int(height), int(width)), int(size), int(size), how, interpolation)
    with np.load(GOLDEN / "transforms.npz") as golden:
        assert_near(actual, golden[name], 1, 0.3)


@pytest.mark.parametrize(("height", "width"), [(97, 131), (24, 20), (20, 131), (10, 11)])
def test_area_is_the_mean_of_what_a_pixel_covers(height, width):
    image = photo(height, width)
    expected = np.einsum("iy,yxc,jx->ijc", covered(height, 24), image, covered(width, 40))
    assert_near(fit(image, 24, 40, "stretch", "area"), expected, 0.51, 0.3)


def covered(size, parts):
    """(parts, size): which share of the i-th part each pixel is."""
    begin, end = np.ogrid[:parts, :0][0] * size / parts, (np.ogrid[:parts, :0][0] + 1) * size / parts
    pixels = np.arange(size)
    return np.clip(np.minimum(end, pixels + 1) - np.maximum(begin, pixels), 0, None) * parts / size


@each
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(FITS), st.sampled_from(INTERPOLATIONS))
def test_the_size_is_right_and_one_colour_stays_that_colour(height, width, how, interpolation):
    image = fit(np.full((height, width, 3), (0, 77, 255), np.uint8), 24, 40, how, interpolation)
    assert image.shape == (24, 40, 3)
    colours = {tuple(colour) for colour in image.reshape(-1, 3).tolist()}
    assert (0, 77, 255) in colours
    assert colours <= {(0, 77, 255)} | ({(0, 0, 0)} if how == "letterbox" else set())


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("how", FITS)
def test_a_picture_of_that_size_stays_as_it_is(how, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(image, 24, 40, how, interpolation), image)


@pytest.mark.parametrize(
    ("height", "width", "top", "left", "rows", "columns"),
    [
        (48, 40, 0, 10, 24, 20),
        (10, 50, 8, 0, 8, 40),
        (24, 39, 0, 0, 24, 39),
        (1, 200, 11, 0, 1, 40),
        (5, 40, 9, 0, 5, 40),
    ],
)
def test_letterbox_puts_the_whole_picture_in_the_middle_of_black(height, width, top, left, rows, columns):
    image = photo(height, width)
    expected = np.zeros((24, 40, 3), np.uint8)
    expected[top : top + rows, left : left + columns] = fit(image, rows, columns)
    np.testing.assert_array_equal(fit(image, 24, 40, "letterbox"), expected)


@pytest.mark.parametrize("height", [24, 25, 26, 27, 28, 29, 30, 31])
def test_crop_takes_the_middle(height):
    top = round((height - 24) / 2)
    np.testing.assert_array_equal(fit(photo(height, 40), 24, 40, "crop"), photo(height, 40)[top : top + 24])


def test_overshoots_are_limited():
    steps = np.repeat(np.array([0, 255, 0, 255], np.uint8), 5)[:, None, None] * np.ones((1, 20, 3), np.uint8)
    image = fit(steps, 40, 40, "stretch", "bicubic")
    assert image[12].min() == 255
    assert image[2].max() == 0


# Windows


@functools.cache
def window_decoder(input_shape):
    signature = [tf.TensorSpec((), tf.string), tf.TensorSpec((4,), tf.float32)]
    return tf.function(transforms.decode_window(input_shape), input_signature=signature, autograph=False)


def decode_window(encoded, window, input_shape=(24, 40, 3)):
    return window_decoder(input_shape)(tf.constant(encoded), tf.constant(window, tf.float32)).numpy()


WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FILES)
def test_a_window_of_the_pictures_own_size_is_the_picture(name, channels):
    expected = decode(FILES[name], channels)
    np.testing.assert_array_equal(decode_window(FILES[name], WHOLE, (45, 62, channels)), expected)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize(
    ("height", "width", "largest", "mean"), [(24, 40, 0, 0), (22, 37, 1, 0.1), (26, 44, 5, 1), (70, 100, 40, 9)]
)
def test_the_whole_window_is_near_the_whole_picture_fitted(height, width, largest, mean, kind):
    encoded = encode(Image.fromarray(photo(height, width)), kind)
    assert_near(decode_window(encoded, WHOLE), fit(decode(encoded), 24, 40), largest, mean)


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_a_window_is_what_lies_there_at_each_of_the_ratios_of_jpeg(ratio):
    height, width = 24 * ratio, 40 * ratio
    encoded = encode(Image.fromarray(photo(2 * height, 2 * width)), "jpeg", quality=95, subsampling=0)
    part = decode(encoded)[height // 2 : height // 2 + height, width : width + width]
    expected = part.reshape(24, ratio, 40, ratio, 3).mean((1, 3))
    assert_near(decode_window(encoded, (0.25, 0.5, 0.5, 0.5)), expected, 8, 1.5)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_window_is_of_the_picture_as_shown(orientation, kind):
    options = {"subsampling": 0} if kind == "jpeg" else {}
    encoded = encode(PHOTO, kind, exif=b"Exif\0\0" + exif(orientation), **options)
    shown = decode(encoded)
    height, width = shown.shape[:2]
    top, left, rows, columns = 7, 5, 25, 33
    window = (top / height, left / width, rows / height, columns / width)
    np.testing.assert_array_equal(
        decode_window(encoded, window, (rows, columns, 3)), shown[top : top + rows, left : left + columns]
    )


def test_a_turned_jpeg_is_shrunk_by_the_sides_as_stored():
    # 200 x 800 as stored: mixed up with what is shown, its lower side would not reach four times the size.
    encoded = encode(Image.fromarray(photo(200, 800)), "jpeg", quality=95, subsampling=0, exif=b"Exif\0\0" + exif(6))
    expected = decode(encoded).reshape(200, 4, 50, 4, 3).mean((1, 3))
    assert_near(decode_window(encoded, WHOLE, (200, 50, 3)), expected, 8, 1.5)


@each
@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.sampled_from(["jpeg", "png RGB", "webp lossless=True"]),
)
def test_any_window_has_the_size(window, name):
    top, left, height, width = window
    window = (top, left, height * (1 - top), width * (1 - left))
    assert decode_window(FILES[name], window).shape == (24, 40, 3)


def test_a_window_is_rounded_to_nearest():
    encoded = encode(Image.fromarray(np.array([[0, 255]], np.uint8)), "png")
    assert decode_window(encoded, WHOLE, (1, 4, 1)).ravel().tolist() == [0, 64, 191, 255]


@pytest.mark.parametrize("name", ["jpeg", "png RGB"])
def test_a_window_has_at_least_a_pixel(name):
    assert (decode_window(FILES[name], (1, 1, 0, 0)) == decode_window(FILES[name], (44 / 45, 61 / 62, 0, 0))).all()


# Places where they work


@pytest.mark.parametrize("kind", ["fit", "window"])
def test_works_alone_in_graphs_in_maps_and_in_pipelines(kind):
    transform = transforms.decode_and_fit((24, 40, 3), "crop") if kind == "fit" else whole_window()
    encoded = tf.constant([FILES["jpeg"], FILES["png alpha"], FILES["gif"], with_segments(EXIF6)])
    alone = np.stack([transform(one) for one in encoded])
    spec = tf.TensorSpec((24, 40, 3), tf.uint8)
    mapped = tf.function(lambda batch: tf.map_fn(transform, batch, fn_output_signature=spec), autograph=False)
    np.testing.assert_array_equal(mapped(encoded), alone)
    data = tf.data.Dataset.from_tensor_slices(encoded).map(transform)
    assert data.element_spec == spec
    np.testing.assert_array_equal(np.stack(list(data.as_numpy_iterator())), alone)


def whole_window():
    transform = transforms.decode_window((24, 40, 3))
    return lambda encoded: transform(encoded, tf.constant(WHOLE))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animated_webp_is_refused_before_it_is_decoded(channels):
    """TensorFlow's decoder writes past its memory for some."""
    for size in (1, 90):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Animated WebP is not decoded"):
            decoder(channels)(tf.constant(animated_webp(size)))


def test_works_in_a_saved_model(tmp_path):
    module = tf.Module()
    module.decode = decoder(3)
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for encoded in FILES.values():
        np.testing.assert_array_equal(loaded.decode(tf.constant(encoded)), decode(encoded))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_of_the_right_size_comes_out_as_it_went_in(channels):
    image = np.random.default_rng(0).integers(0, 256, (28, 28, channels), dtype=np.uint8)
    encoded = tf.io.encode_png(image)
    np.testing.assert_array_equal(transforms.decode_and_fit((28, 28, channels))(encoded), image)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_changes_channels_as_pillow_does(before, after):
    image = np.asarray(PHOTO)[..., :before]
    expected = Image.fromarray(image.squeeze(-1) if before == 1 else image).convert("L" if after == 1 else "RGB")
    actual = transforms.to_channels(after)(tf.constant(image)).numpy()
    np.testing.assert_array_equal(actual, np.asarray(expected).reshape(45, 62, after))
