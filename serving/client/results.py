"""What a model answers."""

from __future__ import annotations

from collections.abc import Mapping

from serving.wire.tensors import Array


class Prediction(dict[str, Array]):
    """Output arrays by name, and the version of the model that made them."""

    def __init__(self, outputs: Mapping[str, Array], version: int) -> None:
        super().__init__(outputs)
        self.version = version
