"""TensorFlow's graph optimizer, run on a graph before a session has it: once, not again for each function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.grappler import tf_optimizer

Signatures = Mapping[str, meta_graph_pb2.SignatureDef]

# Some rewrites, fused convolutions among them, are made only for nodes that are known to be on a CPU.
CPU = "/job:localhost/replica:0/task:0/device:CPU:0"


class NotOptimisableError(Exception):
    """Why a graph is left as it is; shown to people, never raised to callers of the engine."""


def simplify(graph: graph_pb2.GraphDef, signatures: Signatures, *, bfloat16: bool = False) -> graph_pb2.GraphDef:
    """The graph after all of TensorFlow's usual rewrites; with bfloat16 also the one that computes in it."""
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    rewrites.min_graph_nodes = -1
    if bfloat16:
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
        # Fused operations in bfloat16 no graph takes from outside; a session makes them for itself.
        rewrites.remapping = rewriter_config_pb2.RewriterConfig.OFF
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph)
    for name, signature in signatures.items():
        meta_graph.signature_def[name].CopyFrom(signature)
    try:
        optimised = tf_optimizer.OptimizeGraph(config, meta_graph, verbose=False)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise NotOptimisableError("TensorFlow's optimizer does not take its graph") from error
    present = {node.name for node in optimised.node}
    if missing := sorted({node_of(tensor) for tensor in tensors(signatures)} - present):
        raise NotOptimisableError(f"TensorFlow's optimizer dropped {missing[0]}")
    return optimised


def tensors(signatures: Signatures) -> list[str]:
    """Names of all inputs and outputs."""
    return [info.name for s in signatures.values() for info in (*s.inputs.values(), *s.outputs.values())]


def node_of(edge: str) -> str:
    """The node that an input, "name", "name:1" or "^name", comes from."""
    return edge.removeprefix("^").partition(":")[0]


def reachable(graph: graph_pb2.GraphDef, fetches: Iterable[str]) -> set[str]:
    """Names of the nodes that `fetches` depend on."""
    nodes = {node.name: node for node in graph.node}
    seen: set[str] = set()
    todo = [node_of(fetch) for fetch in fetches]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(node_of(edge) for edge in nodes[name].input)
    return seen


def pruned(graph: graph_pb2.GraphDef, fetches: Iterable[str]) -> graph_pb2.GraphDef:
    """The part of the graph that `fetches` depend on, with all functions."""
    wanted = reachable(graph, fetches)
    return graph_pb2.GraphDef(
        node=[node for node in graph.node if node.name in wanted], library=graph.library, versions=graph.versions
    )
