"""What all changes of a picture have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Change(NamedTuple):
    """How many random numbers it needs, and (image, numbers) -> image.

    image: uint8 (H, W, C), kept in shape; numbers: float32 (numbers,) in [0, 1), all independent.
    """

    numbers: int
    apply: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
