"""What a model answers: a prediction for each example, over the arrays of the whole batch."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np

from serving.errors import FailedPrecondition, InvalidArgument
from serving.wire import messages_pb2 as pb
from serving.wire.tensors import Array

# Outputs that hold class names and their probabilities: of cnn-tf's exports, and of signatures for the Classify API.
_NAMED = (("top_labels", "top_scores"), ("classes", "scores"))
# Of the probabilities of all classes, which have no names.
_UNNAMED = "probabilities"


class Score(NamedTuple):
    """A class and its probability, from 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """Of one example: arrays by output, without the batch's axis, and the version of the model that made them.

    Which class it is comes from the outputs top_labels and top_scores, or classes and scores; or else from probabilities, where
    a label is the class's index. Raises FailedPrecondition if the answer has none of these.
    """

    arrays: Mapping[str, Array]
    version: int
    request_id: str = ""

    def __getitem__(self, output: str) -> Array:
        return self.arrays[output]

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.top(1)[0].label

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.top(1)[0].probability

    def top(self, count: int = 5) -> list[Score]:
        """The likeliest classes, the best first; fewer if the model does not tell of so many.

        Raises ValueError for a count below 0.
        """
        if count < 0:
            raise ValueError(f"A count of classes is 0 or more. Received: {count}.")
        labels, scores = self._scores()
        order = np.argsort(-scores, kind="stable")[:count]
        return [
            Score(_text(labels[index]) if labels is not None else str(index), float(scores[index])) for index in order
        ]

    def _scores(self) -> tuple[Array | None, Array]:
        for labels, scores in _NAMED:
            if labels in self.arrays and scores in self.arrays:
                return self.arrays[labels], self.arrays[scores]
        if _UNNAMED in self.arrays:
            return None, self.arrays[_UNNAMED]
        wanted = ", ".join(" and ".join(pair) for pair in _NAMED)
        raise FailedPrecondition(
            f"The answer names no classes: expected {wanted}, or {_UNNAMED}. It has: {', '.join(self.arrays)}."
        )


class Predictions(Sequence[Prediction]):
    """Of a batch: a sequence of its predictions, and the arrays of the whole by output, the first axis being the batch.

    predictions[0].label is of an example, predictions["probabilities"] is an array, which may be read-only: copy it to change
    it. The answer to a single example has its `label`, `probability` and `top` too.
    """

    def __init__(self, arrays: Mapping[str, Array], version: int, request_id: str = "") -> None:
        self.arrays = dict(arrays)
        self.version = version
        self.request_id = request_id

    def __len__(self) -> int:
        """Raises FailedPrecondition unless the outputs share their first axis."""
        sizes = {array.shape[:1] for array in self.arrays.values()}
        if len(sizes) != 1 or sizes == {()}:
            raise FailedPrecondition(
                f"The outputs are no batch, which would be the first axis of all: {_shapes(self.arrays)}. See .arrays."
            )
        return int(sizes.pop()[0])

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    @overload
    def __getitem__(self, index: str) -> Array: ...
    def __getitem__(self, index: int | slice | str) -> Prediction | Predictions | Array:
        if isinstance(index, str):
            return self.arrays[index]
        if isinstance(index, slice):
            return Predictions(self._at(index), self.version, self.request_id)
        return Prediction(self._at(range(len(self))[index]), self.version, self.request_id)

    def __contains__(self, output: object) -> bool:
        return output in self.arrays

    def __repr__(self) -> str:
        return f"Predictions({_shapes(self.arrays)}; version {self.version})"

    def keys(self) -> KeysView[str]:
        """Names of the outputs."""
        return self.arrays.keys()

    def items(self) -> ItemsView[str, Array]:
        """Outputs with their arrays."""
        return self.arrays.items()

    @property
    def label(self) -> str:
        """Of the only example."""
        return self._only().label

    @property
    def probability(self) -> float:
        """Of the only example."""
        return self._only().probability

    def top(self, count: int = 5) -> list[Score]:
        """Of the only example."""
        return self._only().top(count)

    def _only(self) -> Prediction:
        if len(self) != 1:
            raise InvalidArgument(f"The answer is to {len(self)} examples. Take one of them: predictions[0].label.")
        return self[0]

    def _at(self, index: int | slice) -> dict[str, Array]:
        return {name: np.asarray(array[index]) for name, array in self.arrays.items()}


def read_classes(response: pb.ClassificationResponse, request_id: str) -> Predictions:
    """The Classify API's answer: classes, bytes (B, k), and scores, float32 (B, k)."""
    rows = [row.classes for row in response.result.classifications]
    classes = np.array([[each.label.encode() for each in row] for row in rows], dtype=object)
    scores = np.array([[each.score for each in row] for row in rows], dtype=np.float32)
    return Predictions({"classes": classes, "scores": scores}, response.model_spec.version.value, request_id)


def _shapes(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{name}: {array.shape}" for name, array in arrays.items())


def _text(label: object) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)
