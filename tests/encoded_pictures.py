"""Encoded pictures of every kind that is decoded, and EXIF in all the places where it may be."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

sys.path.append(str(Path(__file__).parent / "pipelines" / "golden"))
from photo import photo

PHOTO = Image.fromarray(photo(45, 62))
SEE_THROUGH = Image.fromarray(np.dstack([photo(45, 62), np.linspace(0, 255, 45 * 62).reshape(45, 62).astype(np.uint8)]))


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(image, *chunks, interlaced=False):
    """Of uint8 or uint16 (H, W, 3), which Pillow writes neither interlaced nor with 16 bits."""
    height, width = image.shape[:2]
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [image[y::h, x::w] for y, x, h, w in (steps if interlaced else [(0, 0, 1, 1)])]
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8 * image.itemsize, 2, 0, 0, interlaced)
    every = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in every)


def adobe_transform(encoded, number):
    """How four channels are to be understood: 0 CMYK, 2 YCCK."""
    place = encoded.index(b"Adobe") + 11
    return encoded[:place] + bytes([number]) + encoded[place + 1 :]


def files():
    cmyk = encode(PHOTO.convert("CMYK"), "jpeg")
    yield "jpeg", encode(PHOTO, "jpeg")
    yield "jpeg 4:4:4", encode(PHOTO, "jpeg", subsampling=0)
    yield "jpeg 4:2:2", encode(PHOTO, "jpeg", subsampling=1, quality=60)
    yield "jpeg progressive", encode(PHOTO, "jpeg", progressive=True)
    yield "jpeg grey", encode(PHOTO.convert("L"), "jpeg")
    yield "jpeg cmyk", cmyk
    yield "jpeg ycck", adobe_transform(cmyk, 2)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", encode(PHOTO.convert(mode), "png")
    for bits in (1, 2, 4, 8):
        yield f"png palette {bits}", encode(PHOTO.quantize(2**bits), "png", bits=bits)
    yield "png interlaced", png(np.asarray(PHOTO), interlaced=True)
    yield "png alpha", encode(SEE_THROUGH, "png")
    yield "png grey alpha", encode(SEE_THROUGH.convert("LA"), "png")
    yield "png palette alpha", encode(SEE_THROUGH.quantize(64), "png")
    for lossless in (False, True):
        yield f"webp lossless={lossless}", encode(PHOTO, "webp", lossless=lossless)
        yield f"webp alpha lossless={lossless}", encode(SEE_THROUGH, "webp", lossless=lossless)
    yield "gif", encode(PHOTO, "gif")
    yield "gif moving", encode(PHOTO, "gif", save_all=True, append_images=[ImageOps.invert(PHOTO)])
    for mode in ("L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", encode(PHOTO.convert(mode), "bmp")
    yield "bmp palette of 5", encode(PHOTO.quantize(5), "bmp")


FILES = dict(files())


def exif(orientation, order="<", count=1, kind=3):
    head = b"II*\0" if order == "<" else b"MM\0*"
    maker = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0")
    entry = struct.pack(order + "HHIHH", 0x0112, kind, count, orientation, 0)
    return head + struct.pack(order + "IH", 8, 2) + maker + entry + b"\0" * 4


def segment(content, marker=0xE1):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(*segments, behind_jfif=True):
    """A JPEG with segments of its own."""
    encoded = encode(PHOTO, "jpeg", subsampling=0)
    place = 20 if behind_jfif else 2
    return encoded[:place] + b"".join(segments) + encoded[place:]


# APP1 to APP15 without Adobe's, which tells of colours, and comments.
SEGMENTS = [*range(0xE1, 0xEE), 0xEF, 0xFE]
EXIF6 = segment(b"Exif\0\0" + exif(6))
ICC = segment(b"ICC_PROFILE\0" + bytes(300), 0xE2)


EXIF = {
    "ahead of JFIF": (6, with_segments(EXIF6, behind_jfif=False)),
    "behind others": (6, with_segments(ICC, segment(b"a comment", 0xFE), EXIF6)),
    "behind bytes that fill": (6, with_segments(b"\xff\xff\xff", EXIF6)),
    "the first counts": (6, with_segments(EXIF6, segment(b"Exif\0\0" + exif(3)))),
    "not in another segment": (1, with_segments(segment(b"Exif\0\0" + exif(6), 0xE2))),
    "not in XMP": (1, with_segments(segment(b"http://ns.adobe.com/xap/1.0/\0" + exif(6)))),
    "behind too many": (1, with_segments(*[segment(b"")] * 300, EXIF6)),
    "wrong type": (1, with_segments(segment(b"Exif\0\0" + exif(6, kind=2)))),
    "wrong count": (1, with_segments(segment(b"Exif\0\0" + exif(6, count=2)))),
    "no header": (1, with_segments(segment(b"Exif\0\0" + b"JJ" + exif(6)[2:]))),
    "cut off": (1, with_segments(segment(b"Exif\0\0" + exif(6)[:30]))),
    "far directory": (1, with_segments(segment(b"Exif\0\0" + b"II*\0\xff\xff\xff\xff" + exif(6)[8:]))),
    "directory outside": (1, with_segments(segment(b"Exif\0\0II*\0\x64\0\0\0"), segment(bytes(90) + exif(6)[8:]))),
    "many entries": (6, with_segments(segment(b"Exif\0\0" + exif(6)[:8] + b"\xff\xff" + exif(6)[10:]))),
    "no entries": (1, with_segments(segment(b"Exif\0\0" + exif(6)[:8] + b"\0\0" + exif(6)[10:]))),
    "png behind text": (6, png(np.asarray(PHOTO), (b"tEXt", b"a\0b"), (b"eXIf", exif(6)))),
    "png damaged": (1, png(np.asarray(PHOTO), (b"eXIf", exif(6)[:20]))),
}


def animated_webp(size):
    stream = io.BytesIO()
    frames = [Image.new("RGB", (size, size), colour) for colour in ("red", "green", "blue")]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    return stream.getvalue()
