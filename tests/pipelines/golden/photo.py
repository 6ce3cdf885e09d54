"""Pictures that follow from a formula, so that golden answers need no pictures beside them. NumPy only."""

from __future__ import annotations

import numpy as np


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3): waves of several lengths with colours of their own and some noise, much like a photo."""
    # Only `random`, which follows from the bit stream alone in every NumPy.
    random = np.random.Generator(np.random.PCG64(seed)).random
    rows, columns = np.ogrid[:height, :width]
    image = 120 + 12 * (random((height, width, 3)) - 0.5)
    for length in (5, 14, 40, 120):
        y, x, start = 6.3 * random((3, 3, 1, 1)) / [[[[length]]], [[[length]]], [[[1]]]]
        image += 28 * np.moveaxis(np.sin(y * rows + x * columns + start), 0, -1)
    return image.clip(0, 255).astype(np.uint8)
