"""Looks into one picture, once, with the decoder that training and the exported model use."""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import transforms
from pipelines.prepare.formats import FORMATS, by_extension, is_animated_webp, recognise, recognise_foreign
from pipelines.problems import ProblemKind

# Rows and columns of the thumbnails by which nearly equal pictures are found.
THUMBNAIL = (16, 18)


@dataclass(frozen=True)
class Record:
    """What was found in a picture; nothing but path, stamp, kind and detail if it cannot be used."""

    path: str
    stamp: str
    kind: str = ""
    """ProblemKind, or "" """
    detail: str = ""
    sha256: str = ""
    width: int = 0
    """As displayed, pixels."""
    height: int = 0
    mode: str = ""
    """Pillow's."""
    format: str = ""
    size: int = 0
    """Bytes."""
    sums: tuple[int, ...] = ()
    """(3,) sum of the values 0..255 of each channel."""
    squares: tuple[int, ...] = ()
    """(3,) sum of their squares."""
    thumbnail: bytes = b""
    """THUMBNAIL grey values, row by row."""
    split: str = ""
    """Which split it was once put in, also if it was left out then."""

    @property
    def is_decoded(self) -> bool:
        """Whether there is a picture to use."""
        return bool(self.sha256)

    @property
    def mean_colour(self) -> list[float]:
        """Red, green and blue, 0..255."""
        return [total / (self.width * self.height) for total in self.sums]


class _RefusedError(Exception):
    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


def inspect(path: str, stamp: str, read: Callable[[str], bytes], max_pixels: int) -> Record:
    """Reads and decodes the picture; its faults become the record's kind and detail."""
    try:
        data = read(path)
    except OSError as error:
        return Record(path, stamp, ProblemKind.UNREADABLE, error.strerror or " ".join(str(error).split()))
    try:
        return _decoded(path, stamp, data, max_pixels)
    except _RefusedError as refused:
        return Record(path, stamp, refused.kind, refused.detail)


def _decoded(path: str, stamp: str, data: bytes, max_pixels: int) -> Record:
    name = _format(data)
    mode = _check_header(name, data, max_pixels)
    picture = _decode(name, data)
    promised = by_extension(path)
    wrong = promised not in (None, name)
    sums, squares = _sums(picture)
    return Record(
        path=path,
        stamp=stamp,
        kind=ProblemKind.WRONG_EXTENSION if wrong else "",
        detail=f"named as {promised}, is {name}" if wrong else "",
        sha256=hashlib.sha256(data).hexdigest(),
        width=picture.width,
        height=picture.height,
        mode=mode,
        format=name,
        size=len(data),
        sums=sums,
        squares=squares,
        thumbnail=_thumbnail(picture),
    )


def _format(data: bytes) -> str:
    if not data:
        raise _RefusedError(ProblemKind.EMPTY_FILE, "0 bytes")
    if is_animated_webp(data):
        raise _RefusedError(ProblemKind.UNSUPPORTED, "an animated WEBP")
    if name := recognise(data):
        return name
    if foreign := recognise_foreign(data):
        raise _RefusedError(ProblemKind.UNSUPPORTED, f"a {foreign} picture")
    raise _RefusedError(ProblemKind.NOT_A_PICTURE, f"begins with {data[:8]!r}")


def _check_header(name: str, data: bytes, max_pixels: int) -> str:
    """Pillow's mode. Refuses a picture that would take too much memory, or has no end."""
    try:
        with FORMATS[name].opener(io.BytesIO(data)) as image:
            mode, (width, height) = str(image.mode), image.size
            # TensorFlow decodes all frames of a GIF, also where only the first is wanted.
            frames = getattr(image, "n_frames", 1) if name == "GIF" else 1
    except Exception as error:  # Pillow's readers raise whatever they meet
        raise _fault(name, data, error) from error
    if width * height * frames > max_pixels:
        size = f"{width} x {height}" + (f" x {frames} frames" if frames > 1 else "")
        raise _RefusedError(ProblemKind.BOMB, f"{size} pixels, more than {max_pixels:,}")
    if not FORMATS[name].ends(data):
        raise _fault(name, data, None)
    return mode


def _decode(name: str, data: bytes) -> Image.Image:
    """The picture as the network's decoder gives it, RGB."""
    try:
        return Image.fromarray(_decoder()(tf.constant(data)).numpy())
    except tf.errors.OpError as error:
        if _pillow_decodes(name, data):
            raise _RefusedError(
                ProblemKind.UNSUPPORTED, f"a {name} of a kind that TensorFlow does not decode"
            ) from error
        raise _fault(name, data, error) from error


def _fault(name: str, data: bytes, error: Exception | None) -> _RefusedError:
    if not FORMATS[name].ends(data):
        return _RefusedError(ProblemKind.TRUNCATED, f"the end of the {name} is missing after {len(data):,} bytes")
    return _RefusedError(
        ProblemKind.UNDECODABLE, f"the {name} is damaged" + (f": {_first_line(error)}" if error else "")
    )


def _first_line(error: Exception) -> str:
    """Without the names of the graph's nodes and functions that TensorFlow puts around it."""
    lines = [re.sub(r"\{\{.*?\}\}", "", line).strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith("[[") and line != "Graph execution error:"]
    return said[0] if said else "its content cannot be decoded"


def _pillow_decodes(name: str, data: bytes) -> bool:
    try:
        with FORMATS[name].opener(io.BytesIO(data)) as image:
            image.load()
            return True
    except Exception:  # Pillow's readers raise whatever they meet
        return False


@functools.cache
def _decoder() -> Callable[[tf.Tensor], tf.Tensor]:
    signature = [tf.TensorSpec((), tf.string)]
    function = tf.function(transforms.decode(3), input_signature=signature, autograph=False)
    # Without the search for a graph that fits the input, which takes time at each picture.
    decode: Callable[[tf.Tensor], tf.Tensor] = function.get_concrete_function()
    return decode


def _sums(picture: Image.Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the values of each channel, and of their squares; exact."""
    counts = np.array(picture.histogram(), np.int64).reshape(3, 256)
    values = np.arange(256)
    return tuple((counts @ values).tolist()), tuple((counts @ values**2).tolist())


def _thumbnail(picture: Image.Image) -> bytes:
    """Of the grey picture; each value weighs the pixels around its place, so that one pixel more or less changes little."""
    height, width = THUMBNAIL
    small = picture.convert("L").resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return small.tobytes()
