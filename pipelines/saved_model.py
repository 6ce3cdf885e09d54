"""What an exported SavedModel says of itself: signatures and operators, read from its graph; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

GRAPH = "saved_model.pb"

Tensors = dict[str, dict[str, Any]]
"""By name: dtype, and shape with None for any size."""


class Graph(NamedTuple):
    """Of a SavedModel's only meta graph."""

    signatures: dict[str, dict[str, Tensors]]
    """By name: inputs and outputs."""
    operators: list[str]
    """Kinds of operations, sorted; those within functions too."""
    min_consumer: int
    """The oldest graph version whose TensorFlow may load it."""


def read(folder: Path) -> Graph:
    """The graph of the version in `folder`."""
    [graph] = saved_model_pb2.SavedModel.FromString((folder / GRAPH).read_bytes()).meta_graphs
    signatures = {
        name: {"inputs": _tensors(signature.inputs), "outputs": _tensors(signature.outputs)}
        for name, signature in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }
    return Graph(signatures, _operators(graph), graph.graph_def.versions.min_consumer)


def _tensors(tensors: Any) -> Tensors:
    return {
        name: {
            "dtype": tf.dtypes.as_dtype(info.dtype).name,
            "shape": [None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim],
        }
        for name, info in sorted(tensors.items())
    }


def _operators(graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    library = graph.graph_def.library.function
    nodes: Iterable[Any] = (node for nodes in (graph.graph_def.node, *(f.node_def for f in library)) for node in nodes)
    return sorted({node.op for node in nodes} - {function.signature.name for function in library})
