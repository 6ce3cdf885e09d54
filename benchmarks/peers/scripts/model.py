"""What every peer runs: the SavedModel's signature, called as `tf.saved_model.load` gives it."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIDES = {28 * 28 * 4: (28, 28, 1), 224 * 224 * 3 * 4: (224, 224, 3)}


class Model:
    """Callable: float32 (B, H, W, C) -> float32 (B, classes)."""

    def __init__(self, version: str | Path) -> None:
        # Imported late: some servers import their script in several processes, and run the model in one.
        import tensorflow as tf

        self._constant = tf.constant
        self._loaded = tf.saved_model.load(str(version))
        self.signature = self._loaded.signatures["serving_default"]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.signature(images=self._constant(images))["probabilities"].numpy()


def decode(body: bytes) -> np.ndarray:
    """The bytes of one float32 picture -> (H, W, C)."""
    return np.frombuffer(body, np.float32).reshape(SIDES[len(body)])


def arguments() -> tuple[str, int]:
    """The version's folder and the port. From the environment, which child processes have too."""
    return os.environ["PEER_VERSION"], int(os.environ["PEER_PORT"])
