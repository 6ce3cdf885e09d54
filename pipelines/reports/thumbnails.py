"""Small copies of pictures for a page: whatever is in a file, a few kB of it or the reason why there is nothing to see."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, ImageOps

SIDE = 144  # pixels of the longer side; a page shows it at about 112 CSS px
MAX_BYTES = 3200
QUALITIES = (80, 50, 20)  # of WebP; the first that is small enough
CRISP = 64  # up to here pictures are kept pixel for pixel
MAX_PIXELS = 50_000_000  # decoded at once, 150 MB a worker
WORKERS = 4


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of a picture, or why there is none."""

    content: bytes = b""
    kind: str = ""
    """MIME type of the content."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the copy, pixels."""
    reason: str = ""
    """Why there is no content."""


def make(paths: Iterable[str], read: Callable[[str], bytes]) -> Mapping[str, Thumbnail]:
    """A thumbnail for each path. `read` gives the encoded picture or raises OSError; it is called from several threads."""
    unique = sorted(set(paths))
    with _leniently(), ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip(unique, pool.map(lambda path: _read(path, read), unique), strict=True))


def _read(path: str, read: Callable[[str], bytes]) -> Thumbnail:
    try:
        encoded = read(path)
    except OSError as error:
        return Thumbnail(reason=error.strerror or "The file cannot be read.")
    return _thumbnail(encoded)


def _thumbnail(encoded: bytes) -> Thumbnail:
    if not encoded:
        return Thumbnail(reason="The file has no bytes.")
    try:
        picture = _decode(encoded)
    except Image.DecompressionBombError:
        return Thumbnail(reason="It has too many pixels to be shown.")
    except Exception:  # Pillow's decoders raise nearly anything on damaged files
        return Thumbnail(reason="There is nothing that could be shown.")
    return _encode(picture)


def _decode(encoded: bytes) -> Image.Image:
    """The picture as displayed, RGB: upright, transparent parts white."""
    picture = Image.open(io.BytesIO(encoded))
    picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # of a JPEG, only as many pixels as are needed
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    upright = ImageOps.exif_transpose(_to_colour(picture))
    upright.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    return upright


def _to_colour(picture: Image.Image) -> Image.Image:
    """As 8-bit RGB; exif_transpose still finds the orientation."""
    if picture.mode.startswith("I"):  # 16 bits: the upper eight
        upper = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        return upper.convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    colour = picture.convert("RGBA")
    white = Image.new("RGBA", colour.size, "white")
    white.alpha_composite(colour)
    white.info = colour.info
    return white.convert("RGB")


def _encode(picture: Image.Image) -> Thumbnail:
    if max(picture.size) <= CRISP and len(content := _save(picture, format="PNG", optimize=True)) <= MAX_BYTES:
        return Thumbnail(content, "image/png", picture.size)
    for quality in QUALITIES:
        content = _save(picture, format="WEBP", quality=quality)
        if len(content) <= MAX_BYTES:
            return Thumbnail(content, "image/webp", picture.size)
    return _encode(picture.reduce(2))  # of noise


def _save(picture: Image.Image, **options: object) -> bytes:
    picture.info = {}  # neither EXIF nor profiles
    file = io.BytesIO()
    picture.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


@contextmanager
def _leniently() -> Iterator[None]:
    """Lets Pillow give what there is of a picture whose end is missing. Its switch is the whole process's."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, and large pictures: those beyond the limit raise
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
