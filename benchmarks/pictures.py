"""JPEG files that cost a decoder what photographs of their size cost, made without any data set.

Photographs have spectra that fall as 1/f (Field, "Relations between the statistics of natural images and the response
properties of cortical cells", 1987), and edges. So do these: noise of that spectrum, brightness stronger than colours, under
some shapes with sharp borders. The amplitude is such that 500x375 at quality 94 takes about 105 KB,
as ImageNet's pictures do in the mean.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

QUALITY = 94
SHAPES = 12
CONTRAST = 0.11
"""Standard deviation of the brightness, as a share of its range."""
COLOURFULNESS = 0.3
"""Standard deviation of the colour channels, as a share of the brightness's."""


def photograph(width: int, height: int, seed: int) -> bytes:
    """A JPEG file, the same for the same arguments."""
    random = np.random.default_rng(seed)
    planes = [
        128 + 255 * CONTRAST * share * _noise(random, width, height) for share in (1, COLOURFULNESS, COLOURFULNESS)
    ]
    image = Image.fromarray(np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8), "YCbCr").convert("RGB")
    image = Image.blend(image, _with_shapes(image, random), 0.4)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _noise(random: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float64]:
    """(height, width), mean 0, standard deviation 1, amplitudes falling as 1/f."""
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    vertical, horizontal = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)[np.newaxis]
    frequency = np.hypot(vertical, horizontal)
    frequency[0, 0] = np.inf  # no constant part
    plane = np.fft.irfft2(spectrum / frequency, s=(height, width))
    return (plane - plane.mean()) / plane.std()


def _with_shapes(image: Image.Image, random: np.random.Generator) -> Image.Image:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    for _ in range(SHAPES):
        corners = random.uniform(0, 1, (4, 2)) * image.size
        pen.polygon([tuple(corner) for corner in corners], fill=tuple(random.integers(0, 256, 3).tolist()))
    return drawn


def thumbnail(side: int, seed: int) -> bytes:
    """A small JPEG file of soft colours, another for each seed; quickly made."""
    values = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
    return file.getvalue()


def write_photographs(folder: Path, count: int, classes: int, width: int = 500, height: int = 375) -> None:
    """Writes class_00/00000.jpg and so on into `folder`, with all processors; what is there already stays."""

    def write(number: int) -> None:
        path = folder / f"class_{number % classes:02d}" / f"{number:05d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photograph(width, height, number))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(count)))
