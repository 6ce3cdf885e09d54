"""Pictures made smaller before they are sent: what they are stays what it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from encoded_pictures import EXIF, FILES, PHOTO, SEE_THROUGH, encode
from PIL import Image, ImageOps

from serving.client import scaling

LARGE = PHOTO.resize((500, 363), Image.Resampling.BICUBIC)


@pytest.fixture
def scaled(tmp_path):
    """What is sent of encoded bytes, at 100 pixels."""

    def scale(encoded, size=100):
        (tmp_path / "picture").write_bytes(encoded)
        return scaling.reader(size)(tmp_path / "picture")

    return scale


def opened(encoded):
    return Image.open(io.BytesIO(encoded))


@pytest.mark.parametrize(
    ("kind", "options", "becomes"),
    [("jpeg", {}, "JPEG"), ("png", {}, "PNG"), ("bmp", {}, "PNG"), ("webp", {"lossless": True}, "PNG")],
)
def test_the_shorter_side_and_the_ratio(scaled, kind, options, becomes):
    encoded = encode(LARGE, kind, **options)
    smaller = opened(scaled(encoded))
    assert (smaller.format, smaller.size, smaller.mode) == (becomes, (138, 100), "RGB")
    assert len(scaled(encoded)) < len(encoded) / 2
    expected = np.asarray(LARGE.resize((138, 100), Image.Resampling.LANCZOS), float)
    assert np.abs(np.asarray(smaller, float) - expected).mean() < 3


@pytest.mark.parametrize("size", [363, 1000])
def test_what_is_no_larger_is_sent_as_it_is(scaled, size):
    encoded = encode(LARGE, "jpeg")
    assert scaled(encoded, size) == encoded


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"no picture",
        encode(LARGE, "jpeg")[:2000],
        encode(LARGE.convert("CMYK"), "jpeg"),
        encode(Image.fromarray(np.zeros((300, 300), np.uint16)), "png"),
        encode(LARGE.resize((120, 110)), "jpeg", quality=3),
    ],
)
def test_what_is_damaged_or_would_lose_or_gain_by_it_is_sent_as_it_is(scaled, encoded):
    assert scaled(encoded) == encoded


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_stays(scaled, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker" * 2000
    for kind in ("jpeg", "png"):
        encoded = encode(LARGE, kind, exif=exif)
        upright = ImageOps.exif_transpose(opened(scaled(encoded)))
        expected = ImageOps.exif_transpose(opened(encoded)).resize(upright.size, Image.Resampling.LANCZOS)
        assert upright.size == ((138, 100) if orientation < 5 else (100, 138))
        assert np.abs(np.asarray(upright, float) - np.asarray(expected, float)).mean() < 3
        assert b"makermaker" not in scaled(encoded)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_stays(scaled, mode):
    image = SEE_THROUGH.resize((500, 363))
    encoded = encode(image.quantize(64) if mode == "P" else image.convert(mode), "png")
    before, after = (opened(each).convert("RGBA").getchannel("A") for each in (encoded, scaled(encoded, 50)))
    expected = before.resize((69, 50), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(after, float) - np.asarray(expected, float)).mean() < 3


@pytest.mark.parametrize("encoded", [*FILES.values(), *(each for _, each in EXIF.values())])
def test_pictures_of_every_kind_come_through(scaled, encoded):
    after, before = opened(scaled(encoded, 20)), opened(encoded)
    assert after.convert("RGB").size in (before.size, (28, 20), (20, 28))


def test_a_file_that_cannot_be_read_is_an_error_of_the_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        scaling.reader(10)(tmp_path / "none")
