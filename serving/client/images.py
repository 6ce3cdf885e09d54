"""Pictures of PIL as arrays. PIL is never imported: who has a picture of it has imported it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from serving.errors import InvalidArgument
from serving.wire.tensors import Array

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY = ("1", "L", "LA", "La")
_8_BITS = (*_GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def is_image(value: object) -> TypeGuard[Image.Image]:
    """Whether it is a picture of PIL."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def pixels(image: Image.Image, channels: int | None) -> Array:
    """Uint8 (H, W, channels) as the exported model decodes files: turned as EXIF says, what is transparent over white.

    channels: 1, 3 or 4; None: 1 for grey, else 3.

    Raises InvalidArgument for pictures of more than 8 bits.
    """
    from PIL import Image, ImageOps

    if image.mode not in _8_BITS:
        raise InvalidArgument(
            f"Expected a picture of 8 bits. Received: mode {image.mode!r}. Make an array of it yourself."
        )
    image = ImageOps.exif_transpose(image)
    mode = _MODES.get(channels or (1 if image.mode in _GREY else 3), "RGB")
    if image.has_transparency_data and mode != "RGBA":
        image = Image.fromarray(_over_white(np.asarray(image.convert("RGBA"), np.uint32)))
    array = np.asarray(image.convert(mode))
    return array[..., np.newaxis] if array.ndim == 2 else array


def _over_white(levels: Array) -> Array:
    """(H, W, 4) with alpha -> uint8 (H, W, 3), to nearest."""
    alpha = levels[..., 3:]
    blended: Array = (levels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)
