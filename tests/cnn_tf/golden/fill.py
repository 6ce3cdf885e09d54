"""Arrays and pictures that follow from a formula, so that golden vectors need no weights beside them. NumPy only."""

from __future__ import annotations

import zlib

import numpy as np

SIZES = ((224, 224), (97, 131))


def fill(shapes: dict[str, tuple[int, ...]], gain: float) -> dict[str, np.ndarray]:
    """An array for each name and shape of torch's: kernels of variance gain / fan-in, everything else small or near 1."""
    return {name: _array(name, shape, gain) for name, shape in shapes.items()}


def _array(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    # Only `random`, which follows from the bit stream alone in every NumPy.
    values = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(shape, dtype=np.float32)
    if len(shape) > 1 and "layer_scale" not in name:
        return (values - 0.5) * np.float32(np.sqrt(12 * gain / np.prod(shape[1:])))
    if name.endswith(("bias", "running_mean")):
        return (values - 0.5) * np.float32(0.2)
    return values * np.float32(0.5) + np.float32(0.75)  # gamma, running_var, layer scale


def pictures(height: int, width: int) -> np.ndarray:
    """uint8 (2, height, width, 3): a gradient and noise."""
    noise = np.random.Generator(np.random.PCG64(7)).random((height, width, 3))
    rows, columns, colours = np.ogrid[:height, :width, :3]
    gradient = (rows / height + columns / width + colours / 3) / 3
    return (np.stack([gradient, noise]) * 255).astype(np.uint8)
