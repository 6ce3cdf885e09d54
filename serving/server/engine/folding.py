"""Folds what follows a convolution or a dense layer into it: factors of batch normalization into the kernel, its shift and
biases into a bias, which TensorFlow's kernels add, and ReLU with it, while a result is in the cache.

TensorFlow's own optimizer would fold only kernels that are constants of the graph, not our symbols; and it leaves the shift a
separate pass over memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2

from serving.server.engine import apart, grappler
from serving.server.engine.freezing import Frozen
from serving.server.engine.grappler import Signatures, node_of
from serving.wire.tensors import Array

LAYERS = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"})
NORMALIZATIONS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


def fold(frozen: Frozen, signatures: Signatures, checked: Sequence[str], *, bfloat16: bool = False) -> None:
    """Simplifies the graph in place, with batch normalizations folded into what they follow.

    checked: the tensors whose values will be compared with the original's; what they do not depend on is not folded.
    """
    calls = apart.calls(frozen.graph, frozen.values)
    frozen.graph = _simplified(frozen.graph, calls, signatures)
    _Folder(frozen, signatures, checked).fold_all()
    for node in frozen.graph.node:
        node.device = node.device or grappler.CPU
    frozen.graph = _simplified(frozen.graph, calls, signatures, bfloat16=bfloat16)
    _compute_weights(frozen)


def _simplified(
    graph: graph_pb2.GraphDef, calls: set[str], signatures: Signatures, *, bfloat16: bool = False
) -> graph_pb2.GraphDef:
    """The graph after TensorFlow's rewrites of all but the nodes `calls`."""
    parts = apart.Apart(graph, calls, signatures)
    return parts.joined(grappler.simplify(parts.graph, parts.signatures, bfloat16=bfloat16))


class _Folder:
    """Rewrites of single nodes, each of which keeps the node's name, so that nothing else changes."""

    def __init__(self, frozen: Frozen, signatures: Signatures, checked: Sequence[str]) -> None:
        self._frozen = frozen
        self._checked = grappler.reachable(frozen.graph, checked)
        self._nodes = {node.name: node for node in frozen.graph.node}
        # A result that something else reads must stay what it is.
        self._readers = Counter(node_of(edge) for node in frozen.graph.node for edge in node.input)
        self._readers.update(node_of(tensor) for tensor in grappler.tensors(signatures))

    def fold_all(self) -> None:
        """Folds until nothing changes; a batch normalization takes two steps, a factor and a shift."""
        for node in list(self._frozen.graph.node):
            if node.op in NORMALIZATIONS:
                self._fold_normalization(node)
            elif node.op == "Mul":
                self._fold_factor(node)
        for node in self._frozen.graph.node:
            if node.op in ("AddV2", "Add"):
                self._make_bias(node)

    def _fold_normalization(self, node: node_def_pb2.NodeDef) -> None:
        layer = self._layer(node.input[0])
        parameters = [self._constant(edge) for edge in node.input[1:5]]
        if layer is None or layer.op == "MatMul" or node.attr["is_training"].b or any(p is None for p in parameters):
            return
        scale, offset, mean, variance = (np.asarray(p, np.float64) for p in parameters)
        factor = scale / np.sqrt(variance + node.attr["epsilon"].f)
        if not self._only_first_output_read(node) or not self._scale(layer, factor.astype(np.float32)):
            return
        bias = self._add_constant(f"{node.name}/bias", (offset - mean * factor).astype(np.float32))
        self._become_bias(node, layer.name, bias)

    def _only_first_output_read(self, node: node_def_pb2.NodeDef) -> bool:
        others = {f"{node.name}:{output}" for output in range(1, 6)}
        return not any(edge in others for reader in self._frozen.graph.node for edge in reader.input)

    def _fold_factor(self, node: node_def_pb2.NodeDef) -> None:
        for x, k in ((0, 1), (1, 0)):
            layer, factor = self._layer(node.input[x]), self._constant(node.input[k])
            if layer is None or factor is None or not _is_last_axis(factor, layer):
                continue
            if self._scale(layer, factor.reshape(-1)):
                dtype, controls = node.attr["T"].type, [edge for edge in node.input if edge[0] == "^"]
                node.op = "Identity"
                node.attr.clear()
                node.attr["T"].type = dtype
                node.input[:] = [layer.name, *controls]
                return

    def _scale(self, layer: node_def_pb2.NodeDef, factor: Array) -> bool:
        """Multiplies the layer's kernel so that output channel i is `factor[i]` times what it was; False if it cannot."""
        name = node_of(layer.input[1])
        kernel = self._frozen.weights.get(name) if name in self._frozen.weights else self._constant(name)
        if kernel is None or self._readers[name] != 1 or _is_transposed(layer) or kernel.dtype != factor.dtype:
            return False
        channels = kernel.shape[-2:] if layer.op == "DepthwiseConv2dNative" else kernel.shape[-1:]
        if int(np.prod(channels)) != factor.size:
            return False
        scaled = kernel * factor.reshape(channels)
        if name in self._frozen.weights:
            self._frozen.weights[name] = scaled
        else:
            self._nodes[name].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(scaled))
        self._frozen.folded.add(layer.name)
        return True

    def _make_bias(self, node: node_def_pb2.NodeDef) -> None:
        for x, b in ((0, 1), (1, 0)):
            layer, bias = self._layer(node.input[x]), self._constant(node.input[b])
            if layer is None or bias is None or layer.op == "DepthwiseConv2dNative" or not _is_last_axis(bias, layer):
                continue
            if bias.size == self._channels(layer):
                name = self._add_constant(f"{node.name}/bias", bias.reshape(-1))
                self._become_bias(node, node_of(node.input[x]), name)
                return

    def _become_bias(self, node: node_def_pb2.NodeDef, layer: str, bias: str) -> None:
        dtype = node.attr["T"].type
        controls = [edge for edge in node.input if edge[0] == "^"]
        node.op = "BiasAdd"
        node.attr.clear()
        node.attr["T"].type = dtype
        node.attr["data_format"].s = b"NHWC"
        node.input[:] = [layer, bias, *controls]

    def _layer(self, edge: str) -> node_def_pb2.NodeDef | None:
        """The layer whose result, read by nobody else, comes along `edge`."""
        node = self._nodes.get(edge)
        while node is not None and node.op == "Identity" and self._readers[node.name] == 1:
            node = self._nodes.get(node.input[0])
        if node is None or node.op not in LAYERS or self._readers[node.name] != 1 or node.name not in self._checked:
            return None
        return node if node.op == "MatMul" or node.attr["data_format"].s in (b"NHWC", b"") else None

    def _channels(self, layer: node_def_pb2.NodeDef) -> int:
        kernel = self._frozen.weights.get(node_of(layer.input[1]))
        if kernel is None:
            kernel = self._constant(layer.input[1])
        if kernel is None:
            return -1
        return int(kernel.shape[-2] if _is_transposed(layer) else kernel.shape[-1])

    def _constant(self, edge: str) -> Array | None:
        return _constant(self._nodes.get(edge))

    def _add_constant(self, name: str, value: Array) -> str:
        while name in self._nodes:
            name += "_"
        node = self._frozen.graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        self._nodes[name] = node
        return name


def _is_transposed(layer: node_def_pb2.NodeDef) -> bool:
    # To read an attribute is to make it; with one that an operation does not know, TensorFlow rewrites nothing to bfloat16.
    return layer.op == "MatMul" and bool(layer.attr["transpose_b"].b)


def _is_last_axis(value: Array, layer: node_def_pb2.NodeDef) -> bool:
    """Whether adding or multiplying `value` to the layer's result broadcasts along all axes but the last."""
    rank = 2 if layer.op == "MatMul" else 4
    return 1 <= value.ndim <= rank and value.shape[-1] == value.size


def _compute_weights(frozen: Frozen) -> None:
    """Does once, instead of in each call, casts of weights and their products with constants.

    Mixed precision adds casts; weights that are stored in eight bits become numbers by both.
    """
    nodes = {node.name: node for node in frozen.graph.node}
    todo = [node for node in frozen.graph.node if node.op in ("Cast", "Mul")]
    while left := [node for node in todo if not _compute_weight(node, nodes, frozen.weights)]:
        if len(left) == len(todo):
            break
        todo = left
    used = {node_of(edge) for node in frozen.graph.node for edge in node.input}
    for name in [name for name in frozen.weights if name not in used]:
        del frozen.weights[name]
    frozen.weight_bytes = sum(weight.nbytes for weight in frozen.weights.values())


def _compute_weight(
    node: node_def_pb2.NodeDef, nodes: dict[str, node_def_pb2.NodeDef], weights: dict[str, Array]
) -> bool:
    """Makes a weight of a node that is computed from weights and constants alone; False if it is not."""
    found = [weights.get(edge, _constant(nodes.get(edge))) for edge in node.input]
    values = [value for value in found if value is not None]
    if len(values) < len(found) or weights.keys().isdisjoint(node.input):
        return False
    dtype = tf.as_dtype(node.attr["DstT" if node.op == "Cast" else "T"].type)
    weights[node.name] = np.multiply(*values) if node.op == "Mul" else values[0].astype(dtype.as_numpy_dtype)
    node.op = "Placeholder"
    node.attr.clear()
    node.attr["dtype"].type = dtype.as_datatype_enum
    del node.input[:]
    return True


def _constant(node: node_def_pb2.NodeDef | None) -> Array | None:
    if node is None or node.op != "Const" or node.attr["dtype"].type == tf.string.as_datatype_enum:
        return None
    value: Array = tf.make_ndarray(node.attr["value"].tensor)
    return value


def computes_with_weights(frozen: Frozen) -> bool:
    """Whether something but layers reads weights, for example a transposition, which TensorFlow should do beforehand."""
    readers = LAYERS | {"_FusedConv2D", "_FusedDepthwiseConv2dNative", "_FusedMatMul", "GatherV2", "ResourceGather"}
    return any(
        node.op not in readers and any(node_of(edge) in frozen.weights for edge in node.input)
        for node in frozen.graph.node
    )
