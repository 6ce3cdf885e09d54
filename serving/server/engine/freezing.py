"""Takes the variables out of a graph: small ones become constants, large ones weights beside it.

TensorFlow's optimizer copies a graph in each of its passes, so weights of any size are symbols (placeholders) until the
graph is final. That makes optimising ResNet-18 ten times as fast, in a tenth of the memory.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2, node_def_pb2, tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework import op_def_registry

from serving.server.engine import grappler, inlining, sessions, variables
from serving.server.engine.grappler import NotOptimisableError, Signatures, node_of
from serving.server.engine.loading import VARIABLE_OPS
from serving.server.engine.sessions import Function
from serving.wire.tensors import Array

# Bytes; vectors of a batch normalization are below, kernels worth sparing above.
LARGE = 64 * 1024
# How the names of the constants that are weights begin.
WEIGHTS = "weights/"
# Operations that are marked as having state, but keep none between calls.
HARMLESS = frozenset(
    {
        *("Assert", "ReadVariableOp", "Placeholder", "If", "Case", "While", "StatefulPartitionedCall"),
        *("TensorDataset", "TensorSliceDataset", "DatasetToSingleElement"),  # a pipeline within one call
    }
)


@dataclass
class Frozen:
    """A graph without variables. Each weight is a placeholder in `graph` and a value in `weights`."""

    graph: graph_pb2.GraphDef
    weights: dict[str, Array] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    """Nodes into which a multiplication or a batch normalization was folded."""
    values: set[str] = field(default_factory=set)
    """Nodes of `graph` that were variables or large constants."""
    weight_bytes: int = 0
    """Of those that the graph runs with; known once it is folded."""


def freeze(path: Path, meta_graph: meta_graph_pb2.MetaGraphDef, signatures: Signatures) -> Frozen:
    """The part that `signatures` need of the graph, which is that of the SavedModel in the folder `path`, frozen.

    Raises NotOptimisableError if it does more than read variables.
    """
    _require_fed_at_the_start(meta_graph.graph_def, signatures)
    fetches = [info.name for signature in signatures.values() for info in signature.outputs.values()]
    inlined = inlining.inline(grappler.pruned(meta_graph.graph_def, fetches))
    graph = grappler.pruned(inlined, grappler.tensors(signatures))
    inlining.run_as_they_are(graph)
    _require_stateless(graph)
    values = variables.read(path, meta_graph, [node for node in graph.node if node.op in VARIABLE_OPS])
    frozen = Frozen(graph_pb2.GraphDef(versions=graph.versions, library=graph.library))
    _replace_variables(graph, values, frozen)
    return frozen


def _require_fed_at_the_start(graph: graph_pb2.GraphDef, signatures: Signatures) -> None:
    """TensorFlow ends the process while it lays out a frozen convolution whose output is fed."""
    fed = {node_of(info.name) for signature in signatures.values() for info in signature.inputs.values()}
    for node in graph.node:
        if node.name in fed and not node.op.startswith("Placeholder"):
            raise NotOptimisableError(f"{node.name} ({node.op}) is fed in the middle of the graph")


def _require_stateless(graph: graph_pb2.GraphDef) -> None:
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        op = op_def_registry.get(node.op)
        if op is not None and op.is_stateful and node.op not in HARMLESS | VARIABLE_OPS:
            raise NotOptimisableError(f"it uses {node.op}, which has state")


def _replace_variables(graph: graph_pb2.GraphDef, values: dict[str, Array], frozen: Frozen) -> None:
    """Adds `graph`'s nodes to `frozen`, with constants or weights instead of variables and of large constants."""
    handles = variables.handles(graph)
    # What waits for a variable to be read has nothing to wait for.
    silent = handles.keys() | {node.name for node in graph.node if node.op == "ReadVariableOp"}
    for node in graph.node:
        if node.op == "VarHandleOp" or (node.op == "Identity" and node.name in handles):
            continue
        if node.op == "ReadVariableOp":
            variable = handles.get(node_of(node.input[0]))
            if variable is None:
                raise NotOptimisableError(f"{node.name} reads a variable that is not known beforehand")
            _add_value(frozen, node.name, values[variable], node.attr["dtype"].type)
        elif node.op in VARIABLE_OPS:
            _add_value(frozen, node.name, values[node.name], node.attr["dtype"].type)
        elif node.op == "Const" and node.attr["value"].ByteSize() > LARGE and node.attr["dtype"].type != tf.string:
            _add_value(frozen, node.name, tf.make_ndarray(node.attr["value"].tensor), node.attr["dtype"].type)
        else:
            _add_node(frozen, node, handles, silent)


def _add_node(frozen: Frozen, node: node_def_pb2.NodeDef, handles: Container[str], silent: Container[str]) -> None:
    if any(edge[0] != "^" and node_of(edge) in handles for edge in node.input):
        raise NotOptimisableError(f"{node.name} ({node.op}) does more with a variable than read it")
    added = frozen.graph.node.add()
    added.CopyFrom(node)
    del added.input[:]
    added.input.extend(edge for edge in node.input if edge[0] != "^" or node_of(edge) not in silent)
    added.attr.pop("_class", None)


def _add_value(frozen: Frozen, name: str, value: Array, dtype: int) -> None:
    value = np.asarray(value)
    frozen.values.add(name)
    added = frozen.graph.node.add(name=name, op="Placeholder" if value.nbytes > LARGE else "Const")
    added.attr["dtype"].type = dtype
    if value.nbytes > LARGE:
        added.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        frozen.weights[name] = value
    else:
        added.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


class Plain:
    """The frozen graph as it stands: nothing of it is rewritten, and each weight goes in with each call."""

    def __init__(self, frozen: Frozen, config: config_pb2.ConfigProto) -> None:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(frozen.graph, name="")
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        self._weights = dict(frozen.weights)

    def function(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Function:
        """From tensors called `feeds` to those called `fetches`."""
        run = sessions.function(self._session, (*feeds, *(f"{name}:0" for name in self._weights)), fetches)
        return lambda *arrays: run(*arrays, *self._weights.values())

    def close(self) -> None:
        """Ends the session."""
        self._session.close()


def build(frozen: Frozen) -> Any:
    """A tf.Graph of it, with the weights as constants. `frozen` gives them away, so that no second copy of all exists."""
    graph = tf.Graph()
    rest = graph_pb2.GraphDef(versions=frozen.graph.versions, library=frozen.graph.library)
    rest.node.extend(node for node in frozen.graph.node if node.name not in frozen.weights)
    with graph.as_default():
        used = {node_of(edge) for node in frozen.graph.node for edge in node.input}
        weights: dict[str, Any] = {}
        while frozen.weights:
            name, value = frozen.weights.popitem()
            if name in used:
                weights[f"{name}:0"] = tf.constant(value, name=f"{WEIGHTS}{len(weights)}")
        tf.import_graph_def(rest, input_map=weights, name="")
    return graph


def forget_weights(graph: Any) -> None:
    """Frees the weights of a graph that `build` made. For when its only session has run: that has copies of its own."""
    for operation in graph.get_operations():
        if operation.type == "Const" and operation.name.startswith(WEIGHTS):
            nothing = tensor_pb2.TensorProto(dtype=operation.get_attr("dtype").as_datatype_enum)
            nothing.tensor_shape.dim.add(size=0)
            operation._set_attr("value", attr_value_pb2.AttrValue(tensor=nothing))
