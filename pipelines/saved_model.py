"""What an exported SavedModel says of itself: signatures and operators, read from its graph; nothing is run.

The image of TensorFlow Serving has TensorFlow 2.20, so an export may need nothing that came later.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from pipelines.errors import ExportRefused

GRAPH = "saved_model.pb"

# What `make test-elsewhere` compares with TensorFlow 2.20 itself.
SERVING_GRAPH_VERSION = 2288
NEWER_OPERATORS = frozenset({"DecodeJxl", "_CopyFromGpuToHost", "_CopyFromHostToGpu"})

# They call back into the Python process that made the graph, or hold what only the maker's compiler is sure to read.
BOUND_OPERATORS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless", "XlaCallModule"})

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


def require_portable(graph: Graph) -> None:
    """Raises ExportRefused for a graph that TensorFlow 2.20 cannot load or run without this Python."""
    if bound := sorted(BOUND_OPERATORS.intersection(graph.operators)):
        raise ExportRefused(
            f"The model runs only in the program that made it: its graph has {', '.join(bound)}. Expected TensorFlow "
            "operations alone: write without tf.py_function, tf.numpy_function and JAX. Nothing was published."
        )
    if newer := sorted(NEWER_OPERATORS.intersection(graph.operators)):
        raise ExportRefused(
            f"TensorFlow Serving's image has TensorFlow 2.20, which does not know {', '.join(newer)}. Nothing was published."
        )
    if graph.min_consumer > SERVING_GRAPH_VERSION:
        raise ExportRefused(
            f"The graph is for TensorFlow from graph version {graph.min_consumer} on. TensorFlow 2.20, as in TensorFlow "
            f"Serving's image, has {SERVING_GRAPH_VERSION}. Nothing was published."
        )


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
