"""Graphs that take the same time for each request of a shape, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow.core.framework import graph_pb2

from serving.server.engine import grappler, inlining

# Loops and conditions as TensorFlow 1 writes them.
_BRANCHES = frozenset(
    {"Switch", "RefSwitch", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "LoopCond"}
)


def is_straight(graph: graph_pb2.GraphDef, fetches: Iterable[str]) -> bool:
    """Whether what `fetches` depend on has neither loops nor conditions."""
    library = inlining.functions(graph)
    needed = grappler.reachable(graph, fetches)
    return not any(
        node.name in needed and (node.op in _BRANCHES or any(inlining.named(node, library))) for node in graph.node
    )
