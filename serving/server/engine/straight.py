"""Which part of a graph takes the same time for each request of a shape, whatever is in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tensorflow.core.framework import graph_pb2

from serving.server.engine import inlining
from serving.server.engine.grappler import node_of

# Loops and conditions as TensorFlow 1 writes them.
_BRANCHES = frozenset(
    {"Switch", "RefSwitch", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "LoopCond"}
)


class Crooked:
    """The nodes of a graph that loops or conditions lead to: how long they take depends on what is in a request."""

    def __init__(self, graph: graph_pb2.GraphDef) -> None:
        library = inlining.functions(graph)
        users = defaultdict(list)
        for node in graph.node:
            for edge in node.input:
                users[node_of(edge)].append(node.name)
        todo = [node.name for node in graph.node if node.op in _BRANCHES or any(inlining.named(node, library))]
        self._nodes: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in self._nodes:
                self._nodes.add(name)
                todo += users[name]

    def leads_to(self, fetches: Iterable[str]) -> bool:
        """Whether one of the tensors `fetches` is computed by them."""
        return any(node_of(fetch) in self._nodes for fetch in fetches)
