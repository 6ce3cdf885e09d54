"""Which signatures change what is kept between calls, such as a variable: they are not tried with values made up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

from serving.server.engine import grappler
from serving.server.engine.grappler import Signatures

# Among the operations that have state, or take variables as references.
_WRITES = re.compile(
    "Assign|Scatter|Apply|CountUpTo|Insert|Import|Remove|Enqueue|Dequeue|Push|Pop|Write|Save|Delete|PyFunc"
)


def writing(graph: graph_pb2.GraphDef, signatures: Signatures) -> frozenset[str]:
    """Names of the signatures that do."""
    nodes = {node.name: node for node in graph.node}
    library = {function.signature.name: function for function in graph.library.function}

    def writes(signature_fetches: Iterable[str]) -> bool:
        reached = grappler.reachable(graph, signature_fetches)
        return any(map(_is_write, _operations([nodes[name] for name in reached], library)))

    return frozenset(
        name for name, signature in signatures.items() if writes(info.name for info in signature.outputs.values())
    )


def _operations(nodes: Iterable[node_def_pb2.NodeDef], library: Mapping[str, function_pb2.FunctionDef]) -> set[str]:
    """Names of the operations of `nodes`, and of all that functions do which they call."""
    found: set[str] = set()
    called: set[str] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        found.add(node.op)
        functions = [value.func for value in node.attr.values()]
        functions += [function for value in node.attr.values() for function in value.list.func]
        for name in {node.op, *(function.name for function in functions)} & library.keys() - called:
            called.add(name)
            todo.extend(library[name].node_def)
    return found


def _is_write(name: str) -> bool:
    operation = op_def_registry.get(name)
    if operation is None or not _WRITES.search(name):
        return False
    return bool(operation.is_stateful) or any(argument.is_ref for argument in operation.input_arg)
