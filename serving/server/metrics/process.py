"""What the process uses, under the names that Prometheus's own clients give it."""

from __future__ import annotations

import gc
import platform
import resource
from collections.abc import Iterator

import psutil

from serving.server.metrics.page import Family, Labels, scalars


class Process:
    """The process that runs this."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    @property
    def resident_bytes(self) -> int:
        """Memory that it occupies."""
        return int(self._process.memory_info().rss)

    def families(self) -> Iterator[Family]:
        """For the page."""
        with self._process.oneshot():
            memory = self._process.memory_info()
            cpu = self._process.cpu_times()
            gauges = {
                "process_resident_memory_bytes": memory.rss,
                "process_virtual_memory_bytes": memory.vms,
                "process_start_time_seconds": self._process.create_time(),
                "process_open_fds": self._process.num_fds(),
                "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "process_threads": self._process.num_threads(),
            }
        yield scalars("process_cpu_seconds_total", "counter", [((), cpu.user + cpu.system)])
        for name, value in gauges.items():
            yield scalars(name, "gauge", [((), value)])
        yield from _python()


def _python() -> Iterator[Family]:
    version = (("implementation", platform.python_implementation()), ("version", platform.python_version()))
    yield scalars("python_info", "gauge", [(version, 1)])
    generations: list[tuple[Labels, dict[str, int]]] = [
        ((("generation", str(number)),), statistics) for number, statistics in enumerate(gc.get_stats())
    ]
    for name, field in (
        ("python_gc_collections_total", "collections"),
        ("python_gc_objects_collected_total", "collected"),
        ("python_gc_objects_uncollectable_total", "uncollectable"),
    ):
        yield scalars(name, "counter", [(labels, statistics[field]) for labels, statistics in generations])
