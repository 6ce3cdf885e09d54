"""Puts the bodies of functions where a graph calls them, so that all of a model is in one graph to look at.

Loops and conditions stay calls: TensorFlow takes them apart itself when it makes a session's function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tensorflow.core.framework import attr_value_pb2, function_pb2, graph_pb2, node_def_pb2, op_def_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import op_def_registry

from serving.server.engine.grappler import NotOptimisableError, node_of

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})

Library = Mapping[str, function_pb2.FunctionDef]


def inline(graph: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """The graph without calls of functions, but for those that XLA compiles; of functions it has what is called, each once.

    A call becomes an IdentityN of its results, with its name. Raises NotOptimisableError for functions of several types.
    """
    library = functions(graph)
    flat = graph_pb2.GraphDef(versions=graph.versions)
    for node in graph.node:
        if (function := _called(node, library)) is None:
            flat.node.add().CopyFrom(node)
        else:
            _Call(library, flat).inline(node, function)
    flat.library.function.extend(needed(flat.node, library))
    _merge_equal_functions(flat)
    return flat


def functions(graph: graph_pb2.GraphDef) -> Library:
    """The graph's functions by name."""
    return {function.signature.name: function for function in graph.library.function}


def named(node: node_def_pb2.NodeDef, library: Library) -> Iterator[str]:
    """Names of the functions that a node calls."""
    if node.op in library:
        yield node.op
    yield from (function.name for function in _function_values([node], library))


def needed(nodes: Iterable[node_def_pb2.NodeDef], library: Library) -> list[function_pb2.FunctionDef]:
    """The functions that nodes call, and those that these call."""
    found: dict[str, function_pb2.FunctionDef] = {}
    todo = [name for node in nodes for name in named(node, library)]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = library[name]
            todo.extend(called for node in library[name].node_def for called in named(node, library))
    return list(found.values())


def output_types(node: node_def_pb2.NodeDef, library: Library) -> list[int]:
    """Types of a node's outputs, in their order."""
    return [dtype for argument in _output_arguments(node, library) for dtype in _types(argument, node)]


def run_as_they_are(graph: graph_pb2.GraphDef) -> None:
    """Marks calls: TensorFlow would optimise each function, for half a second, when it is called first."""
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    serialized = config.SerializeToString()
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        if node.op in CALLS:
            node.attr["config_proto"].s = serialized


def _merge_equal_functions(graph: graph_pb2.GraphDef) -> None:
    """Gives functions with the same body one name: tracing makes a new one each time a loop is written down."""
    library = functions(graph)
    names: dict[str, str] = {}
    first: dict[bytes, str] = {}

    def merged(name: str) -> str:
        if name not in names:
            function = library[name]
            for value in _function_values(function.node_def, library):
                value.name = merged(value.name)
            nameless = function_pb2.FunctionDef()
            nameless.CopyFrom(function)
            nameless.signature.name = ""
            # Arguments that are not read are called after the function.
            for argument in nameless.signature.input_arg:
                argument.name = argument.name.replace(name, "")
            names[name] = first.setdefault(nameless.SerializeToString(deterministic=True), name)
        return names[name]

    for value in _function_values(graph.node, library):
        value.name = merged(value.name)
    kept = needed(graph.node, library)
    del graph.library.function[:]
    graph.library.function.extend(kept)


def _function_values(nodes: Iterable[node_def_pb2.NodeDef], library: Library) -> Iterator[attr_value_pb2.NameAttrList]:
    """Where nodes name functions in their attributes."""
    for node in nodes:
        for value in node.attr.values():
            yield from (function for function in (value.func, *value.list.func) if function.name in library)


def _called(node: node_def_pb2.NodeDef, library: Library) -> function_pb2.FunctionDef | None:
    """The function that a node does nothing but call, if its body may stand there instead."""
    function = library.get(node.attr["f"].func.name if node.op in CALLS else node.op)
    # Asked with "in": a protobuf map makes what it is asked for.
    if function is None or any(
        "_XlaMustCompile" in one.attr and one.attr["_XlaMustCompile"].b for one in (node, function)
    ):
        return None
    if function.signature.attr:
        raise NotOptimisableError(f"its function {function.signature.name} is made for several types")
    return function


@dataclass
class _Call:
    """A call of the graph, with all calls in it: their nodes go to `flat`."""

    library: Library
    flat: graph_pb2.GraphDef
    effects: list[str] = field(default_factory=list)
    """What must have run, assertions among them, before the call has a result."""

    def inline(self, node: node_def_pb2.NodeDef, function: function_pb2.FunctionDef) -> None:
        """Adds the function's nodes, and an IdentityN of its results with the name of `node`, which calls it."""
        results = self._add_body(node.name, function, _data(node.input))
        types = [argument.type for argument in function.signature.output_arg]
        identity = self.flat.node.add(name=node.name, op="IdentityN" if types else "NoOp")
        identity.input.extend((*results, *_controls(node.input), *dict.fromkeys(self.effects)))
        if types:
            identity.attr["T"].list.type.extend(types)

    def _add_body(self, name: str, function: function_pb2.FunctionDef, arguments: Sequence[str]) -> list[str]:
        """Adds the nodes of a function that the node `name` calls; the tensors that it returns."""
        tensors = dict(zip((argument.name for argument in function.signature.input_arg), arguments, strict=True))
        for node in function.node_def:
            tensors.update(self._outputs(f"{name}/{node.name}", node))
        for node in function.node_def:
            inputs = [f"^{_source(edge, name, tensors)}" if edge[0] == "^" else tensors[edge] for edge in node.input]
            if (nested := _called(node, self.library)) is not None:
                self._add_nested(f"{name}/{node.name}", nested, inputs)
                continue
            added = self.flat.node.add()
            added.CopyFrom(node)
            added.name = f"{name}/{node.name}"
            added.input[:] = inputs
        self.effects.extend(f"^{name}/{node}" for node in function.control_ret.values())
        return [tensors[function.ret[argument.name]] for argument in function.signature.output_arg]

    def _add_nested(self, name: str, function: function_pb2.FunctionDef, inputs: Sequence[str]) -> None:
        before = len(self.effects)
        self.effects.extend(_controls(inputs))
        results = self._add_body(name, function, _data(inputs))
        for index, (argument, result) in enumerate(zip(function.signature.output_arg, results, strict=True)):
            identity = self.flat.node.add(name=_result(name, index), op="Identity", input=[result])
            identity.attr["T"].type = argument.type
        # Who waits for the call waits for what had to run in it.
        self.flat.node.add(name=name, op="NoOp", input=dict.fromkeys(self.effects[before:]))

    def _outputs(self, name: str, node: node_def_pb2.NodeDef) -> Iterator[tuple[str, str]]:
        """What a node's outputs are called in a function, and in the graph where the node is `name`."""
        is_inlined = _called(node, self.library) is not None
        total = 0
        for argument in _output_arguments(node, self.library):
            for index in range(len(_types(argument, node))):
                yield f"{node.name}:{argument.name}:{index}", _result(name, total) if is_inlined else f"{name}:{total}"
                total += 1


def _result(call: str, index: int) -> str:
    """The node that passes on a result of a nested call."""
    return f"{call}/result{index}"


def _source(edge: str, name: str, tensors: Mapping[str, str]) -> str:
    """The node that a control edge in a function comes from: one of it, or what an argument is computed by."""
    source = edge.removeprefix("^")
    return node_of(tensors[source]) if source in tensors else f"{name}/{source}"


def _output_arguments(node: node_def_pb2.NodeDef, library: Library) -> Iterable[op_def_pb2.OpDef.ArgDef]:
    op = library[node.op].signature if node.op in library else op_def_registry.get(node.op)
    if op is None:
        raise NotOptimisableError(f"it uses {node.op}, which is not known here")
    arguments: Iterable[op_def_pb2.OpDef.ArgDef] = op.output_arg
    return arguments


def _types(argument: op_def_pb2.OpDef.ArgDef, node: node_def_pb2.NodeDef) -> Sequence[int]:
    """Types of the tensors that an output argument stands for."""
    if argument.type_list_attr:
        types: Sequence[int] = node.attr[argument.type_list_attr].list.type
        return types
    one = node.attr[argument.type_attr].type if argument.type_attr else argument.type
    return [one] * (int(node.attr[argument.number_attr].i) if argument.number_attr else 1)


def _data(edges: Iterable[str]) -> list[str]:
    return [edge for edge in edges if edge[0] != "^"]


def _controls(edges: Iterable[str]) -> list[str]:
    return [edge for edge in edges if edge[0] == "^"]
