"""Downloads of Keras."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy.typing as npt

from cnn_tf.quiet import import_tensorflow
from pipelines.errors import DataUnavailable

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def load(name: str) -> dict[str, Arrays]:
    """Pictures (N, H, W) or (N, H, W, C) and labels (N,) of keras.datasets.NAME, by split. Raises DataUnavailable."""
    import_tensorflow()
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # results alone belong there, not Keras's progress
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras wraps whatever the network does into plain exceptions of several kinds
        raise DataUnavailable(
            f"Keras could not download {name} ({' '.join(str(error).split())}). Check the network, then run this again."
        ) from error
    return {split: (images, labels.reshape(-1)) for split, (images, labels) in (("train", train), ("test", test))}
