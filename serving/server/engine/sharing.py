"""Finds signatures that are another signature after some preparation, so that both can run on one copy of the weights.

A model exported with a signature for pictures and one for their files has its network in the graph twice. Each function of a
session has constants of its own; run as "decode, then the first signature" the second needs none.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.engine import grappler, probe
from serving.server.engine.freezing import Frozen
from serving.server.engine.grappler import Signatures


@dataclass(frozen=True)
class Shared:
    """A signature whose outputs are those of the signature `base` once `prepared` are fed to it."""

    base: str
    feeds: tuple[str, ...]
    prepared: tuple[str, ...]
    """Tensors that this signature computes for the base's inputs, in the order of their names."""
    fetches: dict[str, str]
    """This signature's output tensor -> the base's."""

    @property
    def is_copy(self) -> bool:
        """Whether nothing needs preparation: the signature is the same one under another name."""
        return set(self.prepared) <= set(self.feeds)


def find(frozen: Frozen, signatures: Signatures) -> dict[str, Shared]:
    """Signatures by name that need no network of their own."""
    matcher = _Matcher(frozen)
    order = sorted(signatures, key=lambda name: (name != "serving_default", name))
    matches: dict[str, dict[str, Shared]] = {name: {} for name in order}
    for name, base in itertools.permutations(order, 2):
        shared = matcher.match(signatures[name], base, signatures[base])
        # Copies match both ways: the first stays, and all others run on it.
        if shared is not None and (not shared.is_copy or order.index(base) < order.index(name)):
            matches[name][base] = shared

    def closeness(shared: Shared) -> tuple[bool, int, int]:
        prepares = sum(not one.is_copy for one in matches[shared.base].values())
        return shared.is_copy, prepares, -order.index(shared.base)

    # What is closest leaves least to prepare: a copy, or else of two bases the one that could have the other as its own.
    return {name: max(bases.values(), key=closeness) for name, bases in matches.items() if bases}


def parts(signatures: Signatures, shared: dict[str, Shared]) -> Signatures:
    """What the graph has to compute: signatures of their own, and the preparations of the others."""
    needed = {name: signature for name, signature in signatures.items() if name not in shared}
    for name, one in shared.items():
        if not one.is_copy:
            needed[name] = meta_graph_pb2.SignatureDef(inputs=signatures[name].inputs)
            for tensor in one.prepared:
                needed[name].outputs[tensor].name = tensor
    return needed


class _Matcher:
    def __init__(self, frozen: Frozen) -> None:
        self._frozen = frozen
        self._nodes = {node.name: node for node in frozen.graph.node}
        self._asserts = {node.name for node in frozen.graph.node if node.op == "Assert"}

    def match(
        self, signature: meta_graph_pb2.SignatureDef, base_name: str, base: meta_graph_pb2.SignatureDef
    ) -> Shared | None:
        """How `signature` is `base` after a preparation; None if it is not."""
        feeds, base_feeds = probe.feeds(signature), probe.feeds(base)
        if not base_feeds or set(feeds) & set(base_feeds):
            return None
        bound: dict[str, str] = dict.fromkeys(base_feeds, "")
        # An operation tells the type of what it gets, but what is handed on as it came has gone through none.
        types = {output.name: output.dtype for one in (signature, base) for output in one.outputs.values()}
        fetches = {}
        for fetch in probe.fetches(signature):
            for base_fetch in probe.fetches(base):
                is_alike = types[fetch] == types[base_fetch]
                attempt = self._unify(fetch, base_fetch, bound, feeds) if is_alike else None
                if attempt is not None:
                    bound, fetches[fetch] = attempt, base_fetch
                    break
            else:
                return None
        if not all(bound.values()) or not self._asserts_are_kept(fetches, list(bound.values())):
            return None
        return Shared(base_name, feeds, tuple(bound[feed] for feed in base_feeds), fetches)

    def _asserts_are_kept(self, fetches: dict[str, str], prepared: Sequence[str]) -> bool:
        """Whether the preparation makes all assertions of the signature, and the base none of its own."""
        made = grappler.reachable(self._frozen.graph, fetches) & self._asserts
        kept = grappler.reachable(self._frozen.graph, prepared) & self._asserts
        return made == kept and not grappler.reachable(self._frozen.graph, fetches.values()) & self._asserts

    def _unify(
        self, fetch: str, base_fetch: str, bound: dict[str, str], feeds: Container[str]
    ) -> dict[str, str] | None:
        """`bound` with what the base's inputs must be for the two tensors to be equal; None if they never are.

        feeds: the given signature's; what the graph computes before them is not what it gets.
        """
        bound = dict(bound)
        todo = [(_edge(fetch), _edge(base_fetch))]
        seen: set[tuple[tuple[str, int], tuple[str, int]]] = set()
        while todo:
            given, base_given = todo.pop()
            pair = self._source(given, feeds), self._source(base_given, bound)
            if pair in seen:
                continue
            seen.add(pair)
            (name, output), (base_name, base_output) = pair
            base_edge = f"{base_name}:{base_output}"
            if base_edge in bound:
                if bound[base_edge] not in ("", f"{name}:{output}"):
                    return None
                bound[base_edge] = f"{name}:{output}"
                continue
            node, base_node = self._nodes[name], self._nodes[base_name]
            if f"{name}:{output}" in feeds or output != base_output or not self._same(node, base_node):
                return None
            todo.extend(zip(_inputs(node), _inputs(base_node), strict=True))
        return bound

    def _source(self, edge: tuple[str, int], until: Container[str]) -> tuple[str, int]:
        """Where a tensor comes from but for nodes that only pass it on; no further than the tensors in `until`."""
        while self._nodes[edge[0]].op in ("Identity", "IdentityN") and f"{edge[0]}:{edge[1]}" not in until:
            edge = _edge(self._nodes[edge[0]].input[edge[1]])
        return edge

    def _same(self, node: node_def_pb2.NodeDef, base: node_def_pb2.NodeDef) -> bool:
        if node.op != base.op or len(_inputs(node)) != len(_inputs(base)):
            return False
        weight, base_weight = self._frozen.weights.get(node.name), self._frozen.weights.get(base.name)
        if weight is not None and base_weight is not None:
            return weight.dtype == base_weight.dtype and np.array_equal(weight, base_weight)
        if node.op == "Placeholder":
            return False
        attributes = {key for key in (*node.attr, *base.attr) if not key.startswith("_")}
        return all(node.attr[key] == base.attr[key] for key in attributes)


def _edge(tensor: str) -> tuple[str, int]:
    name, _, output = tensor.partition(":")
    return name, int(output or 0)


def _inputs(node: node_def_pb2.NodeDef) -> list[tuple[str, int]]:
    return [_edge(edge) for edge in node.input if edge[0] != "^"]
