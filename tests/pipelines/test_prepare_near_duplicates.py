from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pipelines.prepare import near_duplicates
from pipelines.prepare.inspection import THUMBNAIL, inspect

COPIES = {
    "encoded again": lambda image: jpeg(image, 60),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2)),
    "another shape": lambda image: image.resize((224, 224)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.9),
    "all together": lambda image: jpeg(ImageEnhance.Brightness(image.resize((200, 150))).enhance(1.05), 75),
}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def photo(seed: int, shift: int = 0) -> Image.Image:
    """A landscape of clouds, coarse and fine; `shift` moves the view."""
    random = np.random.default_rng(seed)
    sizes = ((4, 5), (9, 12), (30, 40), (120, 160))
    layers = [random.normal(0, 40 / 2**number, (*size, 3)) for number, size in enumerate(sizes)]
    values = sum(np.stack([enlarged(layer[..., c]) for c in range(3)], -1) for layer in layers) + 120
    return Image.fromarray(np.roll(values, shift, 1).clip(0, 255).astype(np.uint8))


def enlarged(values: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((400, 300), Image.Resampling.BICUBIC))


def found(images: list[Image.Image], splits: list[int]) -> list[list[int]]:
    """Pairs of numbers, by what the scan sees."""
    records = [inspect("x.png", "", lambda _, image=image: png(image), 10**9) for image in images]
    thumbnails = np.stack([np.frombuffer(record.thumbnail, np.uint8).reshape(THUMBNAIL) for record in records])
    colours = np.array([record.mean_colour for record in records])
    return near_duplicates.pairs(thumbnails, colours, np.array(splits)).tolist()


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@pytest.mark.parametrize("change", COPIES)
def test_changed_copies_in_another_split_are_found(change):
    originals = [photo(seed) for seed in range(8)]
    copies = [COPIES[change](image) for image in originals]
    assert found(originals + copies, [0] * 8 + [1] * 8) == [[number, number + 8] for number in range(8)]


def test_copies_in_the_same_split_do_not_matter():
    assert found([photo(1), jpeg(photo(1), 60)], [0, 0]) == []


def test_different_pictures_are_not_accused():
    images = [photo(seed) for seed in range(40)] + [
        photo(0, shift=20),
        photo(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]
    assert found(images, list(range(42))) == []


def test_plain_pictures_are_not_accused():
    plain = [Image.new("RGB", (64, 48), (value, value, value)) for value in (0, 3, 6, 200, 255)]
    faint = [Image.fromarray(np.random.default_rng(seed).integers(90, 110, (64, 48, 3), np.uint8)) for seed in range(3)]
    assert found(plain + faint, list(range(8))) == []


def test_the_same_shape_in_other_colours_is_another_picture():
    def disc(colour: tuple[int, int, int]) -> Image.Image:
        rows, columns = np.mgrid[:64, :64]
        inside = (rows - 32) ** 2 + (columns - 32) ** 2 < 25**2
        return Image.fromarray(np.where(inside[..., None], np.uint8(colour), np.uint8(255)))

    assert found([disc((200, 60, 60)), disc((60, 130, 60)), disc((60, 60, 255))], [0, 1, 2]) == []


@given(keys=st.lists(st.integers(0, 5), max_size=30))
@settings(max_examples=50)
def test_every_pair_with_equal_keys_is_met_once(keys):
    met = [
        tuple(sorted((int(a), int(b))))
        for one, other in near_duplicates.in_one_bucket(np.array(keys, np.uint16))
        for a, b in zip(one, other, strict=True)
    ]
    assert sorted(met) == [(a, b) for a in range(len(keys)) for b in range(a + 1, len(keys)) if keys[a] == keys[b]]


def test_pictures_that_share_a_white_border_do_not_share_a_hash():
    thumbnails = np.random.default_rng(1).integers(0, 256, (4000, *THUMBNAIL), np.uint8)
    thumbnails[:, :5] = thumbnails[:, -5:] = 255
    thumbnails[:, :, :5] = thumbnails[:, :, -5:] = 255
    for keys in near_duplicates.hashes(thumbnails).T:
        assert np.unique(keys, return_counts=True)[1].max() <= 40
