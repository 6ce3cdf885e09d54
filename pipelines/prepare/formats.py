"""Picture formats, told by their first bytes and never by a file's name."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

# Of ISO media files that hold a HEIF or AVIF picture.
HEIF_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def _begins_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


def _begins_png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def _begins_gif(data: bytes) -> bool:
    return data.startswith((b"GIF87a", b"GIF89a"))


def _begins_bmp(data: bytes) -> bool:
    """With the size of a known header, for "BM" begins many a text too."""
    return data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _begins_webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _ends_jpeg(data: bytes) -> bool:
    """Whether an end marker follows the first scan; one before belongs to a thumbnail."""
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        fill = data[position + 1 : position + 2] == b"\xff"
        position += 1 if fill else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return data.rfind(b"\xff\xd9", position) >= 0


def _ends_png(data: bytes) -> bool:
    return b"IEND\xaeB`\x82" in data


def _ends_gif(data: bytes) -> bool:
    return data.rstrip(b"\0").endswith(b";")


def _ends_bmp(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[2:6], "little")


def _ends_webp(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[4:8], "little") + 8


def is_animated_webp(data: bytes) -> bool:
    """TensorFlow must never see one: its decoder writes past its memory."""
    return _begins_webp(data) and data[12:16] == b"VP8X" and len(data) > 20 and bool(data[20] & 2)


@dataclass(frozen=True)
class Format:
    """One that TensorFlow decodes."""

    begins: Callable[[bytes], bool]
    ends: Callable[[bytes], bool]
    """Whether the end of the picture is there."""
    opener: type[ImageFile.ImageFile]
    """Pillow's; reads the header alone, and unlike Image.open never complains about many pixels."""


FORMATS: Mapping[str, Format] = {
    "JPEG": Format(_begins_jpeg, _ends_jpeg, JpegImagePlugin.JpegImageFile),
    "PNG": Format(_begins_png, _ends_png, PngImagePlugin.PngImageFile),
    "GIF": Format(_begins_gif, _ends_gif, GifImagePlugin.GifImageFile),
    "BMP": Format(_begins_bmp, _ends_bmp, BmpImagePlugin.BmpImageFile),
    "WEBP": Format(_begins_webp, _ends_webp, WebPImagePlugin.WebPImageFile),
}


def recognise(data: bytes) -> str | None:
    """The format of a picture that TensorFlow may decode, else None."""
    return next((name for name, form in FORMATS.items() if form.begins(data)), None)


def recognise_foreign(data: bytes) -> str | None:
    """The format of a picture that only others decode, else None."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "AVIF" if data[8:10] == b"av" else "HEIF"
    Image.init()
    return next((name for name in Image.ID if name not in FORMATS and _opens(name, data)), None)


def _opens(name: str, data: bytes) -> bool:
    opener, accepts = Image.OPEN[name]
    try:
        if not accepts or accepts(data[:16]) is not True:
            return False
        with opener(io.BytesIO(data), ""):
            return True
    except Exception:  # Pillow's readers raise whatever they meet
        return False


def by_extension(path: str) -> str | None:
    """The format that a name promises; None for one that promises nothing."""
    suffix = path[path.rfind(".") :].lower() if "." in path.rpartition("/")[2] else ""
    return _extensions().get(suffix)


@functools.cache
def _extensions() -> Mapping[str, str]:
    same = {"MPO": "JPEG", "DIB": "BMP"}  # what Pillow tells apart and TensorFlow does not
    return {suffix: same.get(name, name) for suffix, name in Image.registered_extensions().items()}
