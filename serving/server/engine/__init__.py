"""Turns a version's folder into functions on arrays: as fast as TensorFlow can be on a CPU, and exactly the model.

    engine = load(Path("models/digits/1"), EngineOptions())
    predict = engine.function(("serving_default_images:0",), ("StatefulPartitionedCall:0",))
    (probabilities,) = predict(images)

Where the answers stay the same, variables are frozen, batch normalization is folded into convolutions, and the model gets the
threads that suit it; `summary` says what was done. A model that cannot be frozen runs as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.engine.options import EngineOptions
from serving.server.engine.sessions import Function

__all__ = ["Engine", "EngineOptions", "Function", "load"]

TFLITE_FILE = "model.tflite"


class Engine(Protocol):
    """A loaded version. Its functions may be called from many threads."""

    signatures: Mapping[str, meta_graph_pb2.SignatureDef]
    slots: int
    """How many calls run at once usefully."""
    quick_rows: int
    """So many rows of the main signature are best run in one call in the thread that reads them: they take no longer than a
    change of threads, whatever is in them. 0: that is not known."""
    best_batch: int
    """Rows in a call beyond which more gain next to nothing: 1, 8 or 32; 64 if that is not known."""
    needs_ranks: bool
    """Whether an input must have as many axes as its signature says."""
    summary: str
    """One line for the log: what was done to the model, its threads, how fast it is."""

    def function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        """The function from tensors called `feeds` to those called `fetches`. Made once, when first asked for."""

    def joinable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> bool:
        """Whether requests may be joined along the first axis: each row's answer is the same in any company. Cheap."""

    def close(self) -> None:
        """Gives the memory back. No function may be running."""


def load(path: Path, options: EngineOptions) -> Engine:
    """The version in the folder `path`.

    Raises ServingError: InvalidArgument for options that are wrong in themselves; NotFound for a folder without a model or
    without the tags; OutOfRange, DataLoss or FailedPrecondition for files that are not whole.
    """
    if options.prefer_tflite and (path / TFLITE_FILE).exists():
        from serving.server.engine.tflite import load as load_tflite

        return load_tflite(path / TFLITE_FILE, options)
    from serving.server.engine.saved_model import load as load_saved_model

    return load_saved_model(path, options)
