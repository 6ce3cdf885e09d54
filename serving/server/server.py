"""One server: models, gRPC port and REST port, from start to a clean stop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from serving.server import warmup
from serving.server.batching import Batcher
from serving.server.config import ModelConfig
from serving.server.manager import Manager
from serving.server.rest import RestServer
from serving.server.servable import Execute, Servable, execute_directly
from serving.server.services import GrpcServer

_log = logging.getLogger(__name__)

# As many requests may be under way per port; more wait for a thread.
THREADS = 4 * (os.cpu_count() or 1)
# With batching, requests that wait for their batch hold a thread each.
BATCHING_THREADS = 128


class ModelServer:
    """Serves models over gRPC and REST.

    Port 0 takes a free port, None leaves that interface out; `grpc_address` and `rest_address` tell where it listens.
    Raises Unavailable from the constructor if a port is taken.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        *,
        host: str = "127.0.0.1",
        port: int | None = 0,
        rest_port: int | None = 0,
        batching: bool = False,
        poll_seconds: float | None = 1.0,
    ) -> None:
        threads = BATCHING_THREADS if batching else THREADS
        self._execute: Execute = Batcher() if batching else execute_directly
        self._manager = Manager(models, self._load, poll_seconds=poll_seconds)
        self._grpc = None if port is None else GrpcServer(self._manager, f"{host}:{port}", threads=threads)
        self._rest = None if rest_port is None else RestServer(self._manager, (host, rest_port), threads=threads)
        self._ports = [port for port in (self._grpc, self._rest) if port is not None]
        self.grpc_address = f"{host}:{self._grpc.port}" if self._grpc else None
        self.rest_address = f"{host}:{self._rest.port}" if self._rest else None

    def _load(self, name: str, path: Path) -> Servable:
        begin = time.perf_counter()
        servable = Servable(path, self._execute)
        loaded = time.perf_counter()
        requests = warmup.replay(servable, path)
        _log.info(
            "Model %s: loaded %s in %.1f s, replayed %d warm-up requests in %.1f s",
            name, path, loaded - begin, requests, time.perf_counter() - loaded,
        )  # fmt: skip
        return servable

    def start(self) -> None:
        """Loads the models, then answers on the ports."""
        self._manager.start()
        for port in self._ports:
            port.start()

    def stop(self, grace_seconds: float = 10.0) -> bool:
        """Takes no new requests, finishes those under way, unloads the models.

        Returns whether all of it was done within `grace_seconds`; requests that take longer are abandoned.
        """
        end = time.monotonic() + grace_seconds
        for port in self._ports:
            port.stop(max(end - time.monotonic(), 0))
        return self._manager.stop(max(end - time.monotonic(), 0))

    @property
    def manager(self) -> Manager:
        """The models and their states."""
        return self._manager
