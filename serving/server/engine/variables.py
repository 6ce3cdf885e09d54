"""The values of a SavedModel's variables, read from its files without running the model.

Keras writes each weight twice, and restoring writes all of it to variables of a session, from which it would then be read: here
only what is needed is read, once. What holds a variable's value is found in the graph that would restore it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.engine import grappler, inlining
from serving.server.engine.grappler import NotOptimisableError, node_of
from serving.server.engine.loading import VARIABLE_OPS
from serving.wire.tensors import Array

# Constants above 2 GB do not fit a GraphDef, and each is copied several times while a session is made.
MAX_BYTES = 3 * 2**29
ASSIGNMENTS = frozenset({"AssignVariableOp", "Assign"})
# What runs once a model is restored: a signature in TensorFlow 2, a collection in TensorFlow 1.
INIT_SIGNATURE = "__saved_model_init_op"
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def read(
    path: Path, meta_graph: meta_graph_pb2.MetaGraphDef, variables: Sequence[node_def_pb2.NodeDef]
) -> dict[str, Array]:
    """Node name -> value, once the SavedModel in the folder `path` is loaded, of nodes that make variables.

    Raises NotOptimisableError where only loading tells: if the values are not all read from one tensor each, or change.
    """
    if not variables:
        return {}
    saved = _saved_names(meta_graph)
    if missing := [node.name for node in variables if _key(node) not in saved]:
        raise NotOptimisableError(f"nothing restores its variable {missing[0]}")
    try:
        reader: Any = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        wanted = {node.name: (node, saved[_key(node)]) for node in variables}
        for node, name in wanted.values():
            _require_fits(node, shapes[name], dtypes[name])
        size = sum(tf.TensorShape(shapes[name]).num_elements() * dtypes[name].size for _, name in wanted.values())
        if size > MAX_BYTES:
            raise NotOptimisableError(f"its variables have {size / 2**30:.1f} GB, too much for constants")
        return {node: reader.get_tensor(name) for node, (_, name) in wanted.items()}
    except (LookupError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise NotOptimisableError(f"its variables could not be read: {' '.join(str(error).split())}") from error


def handles(graph: graph_pb2.GraphDef) -> dict[str, str]:
    """Node name -> variable, for each node that only passes the handle of a variable on."""
    found: dict[str, str] = {}
    identities = {node.name: node.input[0] for node in graph.node if node.op == "Identity"}
    variables = {node.name for node in graph.node if node.op == "VarHandleOp"}
    for name in (*variables, *identities):
        root = _root(name, identities)
        if root in variables:
            found[name] = root
    return found


def _root(edge: str, identities: dict[str, str]) -> str:
    """The node whose result identities pass on along `edge`."""
    root, steps = node_of(edge), 0
    while root in identities and steps < len(identities):
        root, steps = node_of(identities[root]), steps + 1
    return root


def _key(node: node_def_pb2.NodeDef) -> tuple[bytes, bytes]:
    """What two nodes of one variable have in common."""
    return node.attr["container"].s, node.attr["shared_name"].s or node.name.encode()


def _require_fits(node: node_def_pb2.NodeDef, shape: Sequence[int], dtype: tf.DType) -> None:
    declared = tf.TensorShape(node.attr["shape"].shape)
    if dtype.as_datatype_enum != node.attr["dtype"].type or not declared.is_compatible_with(shape):
        raise NotOptimisableError(f"its variable {node.name} is not what was saved")


def _saved_names(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[tuple[bytes, bytes], str]:
    """Variable -> the name of the saved tensor that is its value once the model is loaded."""
    restore = node_of(meta_graph.saver_def.restore_op_name)
    flat = _flat(meta_graph, restore)
    nodes = {node.name: node for node in flat.node}
    identities = {node.name: node.input[0] for node in flat.node if node.op == "Identity"}
    changed = _initialised(meta_graph)
    saved: dict[tuple[bytes, bytes], str] = {}
    for name in grappler.reachable(flat, [restore]):
        node = nodes[name]
        if node.op not in ASSIGNMENTS:
            continue
        key = _key(nodes[_root(node.input[0], identities)])
        if key in saved or key in changed:
            raise NotOptimisableError(f"its variable {key[1].decode()} is set more than once")
        saved[key] = _restored(node.input[1], nodes, identities)
    return saved


def _flat(meta_graph: meta_graph_pb2.MetaGraphDef, restore: str) -> graph_pb2.GraphDef:
    if restore not in {node.name for node in meta_graph.graph_def.node}:
        raise NotOptimisableError("nothing restores its variables")
    return inlining.inline(grappler.pruned(meta_graph.graph_def, [restore]))


def _restored(edge: str, nodes: dict[str, node_def_pb2.NodeDef], identities: dict[str, str]) -> str:
    """The name of the saved tensor that comes along `edge`."""
    while node_of(edge) in identities:
        edge = identities[node_of(edge)]
    node = nodes[node_of(edge)]
    if node.op != "RestoreV2":
        raise NotOptimisableError(f"its variables are restored through {node.op}")
    names, slices = (tf.make_ndarray(nodes[_root(node.input[i], identities)].attr["value"].tensor) for i in (1, 2))
    index = int(edge.partition(":")[2] or 0)
    if slices[index]:
        raise NotOptimisableError("its variables are parts of saved ones")
    name: str = names[index].decode()
    return name


def _initialised(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[tuple[bytes, bytes]]:
    """Variables that an initialiser has to do with, which runs after the model is restored."""
    outputs = meta_graph.signature_def[INIT_SIGNATURE].outputs if INIT_SIGNATURE in meta_graph.signature_def else {}
    names = [info.name for info in outputs.values()]
    for collection in INIT_COLLECTIONS:
        if collection in meta_graph.collection_def:
            names.extend(meta_graph.collection_def[collection].node_list.value)
    reached = grappler.reachable(meta_graph.graph_def, names)
    return {_key(node) for node in meta_graph.graph_def.node if node.name in reached and node.op in VARIABLE_OPS}
