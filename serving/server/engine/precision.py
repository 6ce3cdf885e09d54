"""Whether the processor computes in bfloat16 itself, and whether a graph does."""

from __future__ import annotations

from pathlib import Path

from tensorflow.core.framework import graph_pb2, types_pb2

FLAGS = frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether it has instructions for it. Without them TensorFlow imitates it, several times slower than float32."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return bool(FLAGS & set(value.split()))
    return False


def is_mixed(graph: graph_pb2.GraphDef) -> bool:
    """Whether TensorFlow's optimizer has made it compute in bfloat16: where it fails, it only logs that."""
    return any(
        attribute.type == types_pb2.DT_BFLOAT16
        for node in graph.node
        if node.op not in ("Cast", "Placeholder", "Const")
        for attribute in node.attr.values()
    )
