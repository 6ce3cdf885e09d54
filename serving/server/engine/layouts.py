"""Graphs whose operations end the process if an input has another number of axes than they were made for.

oneDNN's kernels look an axis up before any shape is checked, and abort where there is none (TensorFlow 2.21: a Conv2D that is
fed a matrix). So requests to such graphs are held to the signature's number of axes.
"""

from __future__ import annotations

from collections.abc import Iterator

from tensorflow.core.framework import graph_pb2, node_def_pb2

_PREFIXES = ("Conv", "DepthwiseConv", "MaxPool", "AvgPool", "FusedBatchNorm", "LRN", "_Fused", "_Mkl")


def needs_ranks(graph: graph_pb2.GraphDef) -> bool:
    """Whether the graph, or a function of it, has an operation that lays out its inputs by axes."""
    return any(node.op.startswith(_PREFIXES) for node in _nodes(graph))


def _nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
