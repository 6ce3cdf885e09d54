"""Keeps loops and conditions that no weights flow into, such as one that decodes pictures, out of the optimizer's sight.

Their functions are most of such a graph: the optimizer takes a second for them, each time, and gains next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.engine import grappler, inlining
from serving.server.engine.grappler import Signatures, node_of

# Part of the names of what stands for nodes that are apart.
APART = "apart"


def calls(graph: graph_pb2.GraphDef, weights: Iterable[str]) -> set[str]:
    """Names of the nodes that call functions, and do not depend on the nodes `weights`."""
    library = inlining.functions(graph)
    fed = set(weights)
    return {
        node.name
        for node in graph.node
        if any(inlining.named(node, library))
        and inlining.output_types(node, library)
        and not fed & grappler.reachable(graph, [node.name])
    }


class Apart:
    """A graph without some of its nodes: what they compute is fed to `graph`, and what they read is fetched from it."""

    def __init__(self, whole: graph_pb2.GraphDef, names: set[str], signatures: Signatures) -> None:
        self._library = inlining.functions(whole)
        self._nodes = {node.name: node for node in whole.node if node.name in names}
        self._waits = {fetch: grappler.reachable(whole, [fetch]) & names for fetch in _fetched(signatures)}
        # An edge from a node that is apart -> the placeholder's.
        self._fed: dict[str, str] = {}
        self.graph = graph_pb2.GraphDef(versions=whole.versions)
        self._ends = meta_graph_pb2.SignatureDef()
        for node in self._nodes.values():
            self._feed(node)
        for node in self._nodes.values():
            self._fetch(node)
        for node in whole.node:
            if node.name not in names:
                added = self.graph.node.add()
                added.CopyFrom(node)
                added.input[:] = [self._fed.get(edge, edge) for edge in node.input]
        self.graph.library.function.extend(inlining.needed(self.graph.node, self._library))
        kept = {name: _without(names, signature) for name, signature in signatures.items()}
        self.signatures = {**kept, APART: self._ends}

    def _feed(self, node: node_def_pb2.NodeDef) -> None:
        for index, dtype in enumerate(inlining.output_types(node, self._library)):
            placeholder = self.graph.node.add(name=f"{node.name}/{APART}{index}", op="Placeholder")
            placeholder.attr["dtype"].type = dtype
            placeholder.attr["shape"].shape.unknown_rank = True
            self._fed[f"{node.name}:{index}" if index else node.name] = placeholder.name
            if index == 0:
                self._fed[f"{node.name}:0"] = placeholder.name
                self._fed[f"^{node.name}"] = f"^{placeholder.name}"

    def _fetch(self, node: node_def_pb2.NodeDef) -> None:
        for edge in node.input:
            if edge not in self._fed:
                self._ends.outputs[edge].name = edge if ":" in edge else f"{node_of(edge)}:0"

    def joined(self, optimised: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
        """What was made of `graph`, with the nodes that were apart in it again."""
        edges = {placeholder: edge for edge, placeholder in self._fed.items()}
        fed = {node_of(placeholder) for placeholder in edges}
        whole = graph_pb2.GraphDef(versions=optimised.versions, library=optimised.library)
        for node in optimised.node:
            if node.name not in fed:
                added = whole.node.add()
                added.CopyFrom(node)
                added.input[:] = [edges.get(edge.removesuffix(":0"), edge) for edge in node.input]
        whole.node.extend(self._nodes.values())
        present = {function.signature.name for function in whole.library.function}
        called = inlining.needed(self._nodes.values(), self._library)
        whole.library.function.extend(function for function in called if function.signature.name not in present)
        self._wait(whole)
        return whole

    def _wait(self, whole: graph_pb2.GraphDef) -> None:
        """What a result waited for, without reading it, is run all the same: it may refuse the request."""
        for node in whole.node:
            if node.name in self._waits:
                lost = self._waits[node.name] - grappler.reachable(whole, [node.name])
                node.input.extend(f"^{name}" for name in sorted(lost))


def _without(names: set[str], signature: meta_graph_pb2.SignatureDef) -> meta_graph_pb2.SignatureDef:
    """The signature, without the outputs of these nodes."""
    kept = meta_graph_pb2.SignatureDef(inputs=signature.inputs)
    for name, info in signature.outputs.items():
        if node_of(info.name) not in names:
            kept.outputs[name].CopyFrom(info)
    return kept


def _fetched(signatures: Signatures) -> set[str]:
    return {node_of(info.name) for signature in signatures.values() for info in signature.outputs.values()}
