"""Pictures made smaller before they are sent."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

from PIL import Image

# What is scaled, and as what.
_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}
_JPEG_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF's tag


def reader(size: int) -> Callable[[Path], bytes]:
    """Gives a file's contents, scaled down to `size` pixels on the shorter side if both sides are longer.

    So it is never below the input of a model that takes size x size, however that crops. JPEG stays JPEG, all else becomes PNG;
    EXIF's orientation is kept for the model to obey. What Pillow cannot read, CMYK, 16 bits, and what would have no fewer bytes
    stay as they are.

    The function raises OSError for a file that cannot be read.
    """
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a picture is the model's to say

    def read(path: Path) -> bytes:
        encoded = path.read_bytes()
        try:
            return _scaled(encoded, size)
        except Exception:  # Pillow raises many kinds for damaged files; the model has the last word
            return encoded

    return read


def _scaled(encoded: bytes, size: int) -> bytes:
    with Image.open(io.BytesIO(encoded)) as opened:
        if min(opened.size) <= size or opened.mode not in _MODES:
            return encoded
        orientation = opened.getexif().get(_ORIENTATION, 1)
        width, height = (round(side * size / min(opened.size)) for side in opened.size)
        opened.draft(None, (2 * width, 2 * height))  # of JPEG, no more than that is decoded
        mode = "RGBA" if opened.has_transparency_data and opened.mode != "LA" else _MODES[opened.mode]
        image = opened.convert(mode).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
        smaller = _encoded(image, orientation, "JPEG" if opened.format == "JPEG" else "PNG")
        return min(smaller, encoded, key=len)


def _encoded(image: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    if orientation != 1:
        exif[_ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, quality=_JPEG_QUALITY, exif=exif, icc_profile=None)  # models look at no profile
    return stream.getvalue()
