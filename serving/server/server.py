"""One server: models, gRPC and REST, from start to a clean stop."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Sequence

from grpc_health.v1 import health_pb2
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from serving.server import completeness, examples, inference, memory, model_service
from serving.server.calls import Call, Methods, Unary, by_path
from serving.server.config import ModelConfig
from serving.server.config_polling import ConfigPoller, FilePoller, FolderPoller
from serving.server.flags import Flags
from serving.server.health import Health
from serving.server.loading import Loader
from serving.server.manager import Manager, Settings
from serving.server.metrics import Metrics
from serving.server.metrics.config import page_path
from serving.server.observer import Observer
from serving.server.overview import Overview
from serving.server.profiler import Profiler
from serving.server.reflection import Reflection
from serving.server.request_log import RequestLog
from serving.server.rest import RestServer
from serving.server.rest import Settings as RestSettings
from serving.server.retries import RetryPolicy
from serving.server.security import gate, tls
from serving.server.servable import require_predict_method
from serving.server.tracing import Tracing
from serving.server.transports import Options, Tls, Transport

# gRPC's own library holds a thread for each request that waits for its batch.
MIN_GRPCIO_THREADS = 128
# Lists of small lists take fifty times their text's size in memory.
MAX_REST_BYTES = 256 * 2**20
# To unload what no request uses, though clients that never finished sending theirs have taken all of the time.
UNLOAD_SECONDS = 0.5
# Asked every few seconds by whoever runs containers; nobody wants to read of it.
QUIET = "/grpc.health.v1.Health/"
REFLECTED = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)


class ModelServer:
    """Serves models as the flags say.

    Constructing it binds the addresses: Unavailable if one is taken, InvalidArgument for a file that a flag names and that
    is wrong. `grpc_addresses` and `rest_addresses` tell where it listens, "host:port" or "unix:/path".
    """

    def __init__(self, flags: Flags, models: Sequence[ModelConfig], tracing: Tracing | None = None) -> None:
        self._flags = flags
        overview = Overview(lambda: self._manager)
        self._metrics = Metrics(overview.version_states, overview.queues)
        self.snapshot = functools.partial(overview.snapshot, self._metrics)
        self._observer = Observer(self._metrics, RequestLog(flags.log_requests), tracing)
        self._gate = gate.from_flags(flags)
        self._tracing = tracing
        self._health = Health()
        self._manager = Manager(
            models,
            Loader(flags, self._metrics),
            _manager_settings(flags),
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        self._poller = _poller(flags, self._manager)
        keys = tls.read(flags.ssl_config_file) if flags.ssl_config_file else None
        self._grpc = self._grpc_transport(keys)
        self._rest = self._rest_server(keys)
        self.grpc_addresses = list(self._grpc.addresses) if self._grpc else []
        ports = self._rest.ports if self._rest else []
        self.rest_addresses = [f"{host}:{port}" for host, port in zip(flags.bind_addresses, ports, strict=False)]

    def load(self) -> None:
        """Loads the models. Raises ServingError."""
        memory.set_aside()
        self._manager.start()

    def open(self) -> None:
        """Answers on the ports, once the models are loaded."""
        self._health.set_serving(True)
        for port in (self._grpc, self._rest):
            if port:
                port.start()
        if self._poller:
            self._poller.start()

    @property
    def is_loading(self) -> bool:
        """Whether a version is being loaded, which nothing can interrupt."""
        return self._manager.is_loading

    def stop(self, grace_seconds: float = 10.0) -> bool:
        """Takes no new requests, finishes those under way, unloads the models; versions that load are left to themselves.

        Returns whether all of it was done within `grace_seconds`; requests that take longer are abandoned.
        """
        end = time.monotonic() + grace_seconds
        self._health.set_serving(False)
        if self._poller:
            self._poller.stop()
        self._manager.end_reloads()
        self._close_ports(max(end - time.monotonic(), 0))
        stopped = self._manager.stop(max(end - time.monotonic(), UNLOAD_SECONDS))
        if self._tracing:
            self._tracing.close()
        return stopped

    def _close_ports(self, grace_seconds: float) -> None:
        """Both at once: neither takes new requests, or waits for its turn, while the other finishes."""
        ports = [port for port in (self._grpc, self._rest) if port]
        threads = [threading.Thread(target=port.stop, args=(grace_seconds,), name="stop") for port in ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _methods(self) -> Methods:
        service = inference.PredictionService(
            self._manager,
            self._metrics.examples,
            check_method_names=self._flags.enable_signature_method_name_check,
            tensor_content=self._flags.enable_serialization_as_tensor_content,
        )
        methods = [
            *service.methods(),
            *model_service.methods(self._manager, self._metrics.value),
            *self._health.methods(),
            *Reflection(REFLECTED).methods(),
            *(Profiler(writes=self._flags.is_local).methods() if self._flags.enable_profiler else ()),
        ]
        gated = gate.gated(by_path(methods), self._gate)
        return {
            path: self._observer.observed(method)
            if isinstance(method, Unary) and not path.startswith(QUIET)
            else method
            for path, method in gated.items()
        }

    def _grpc_transport(self, keys: Tls | None) -> Transport | None:
        flags = self._flags
        addresses = [] if flags.port is None else [f"{host}:{flags.port}" for host in flags.bind_addresses]
        if flags.grpc_socket_path:
            addresses.append(f"unix:{flags.grpc_socket_path}")
        if not addresses:
            return None
        options = Options(
            tls=keys,
            threads=flags.grpc_max_threads,
            max_request_bytes=flags.max_request_bytes,
            channel_arguments=flags.channel_arguments,
        )
        if flags.grpc_transport == "grpcio":
            from serving.server.transports.grpcio import GrpcioTransport

            threads = max(options.threads, MIN_GRPCIO_THREADS)
            return GrpcioTransport(self._methods(), addresses, dataclasses.replace(options, threads=threads))
        from serving.server.transports.http2 import Http2Transport

        return Http2Transport(self._methods(), addresses, options)

    def _rest_server(self, keys: Tls | None) -> RestServer | None:
        flags = self._flags
        if flags.rest_api_port is None:
            return None
        path, check = page_path(flags.monitoring_config_file), flags.enable_signature_method_name_check
        settings = RestSettings(
            timeout_seconds=flags.rest_api_timeout_in_ms / 1000,
            cors=flags.rest_api_enable_cors_support,
            max_body_bytes=min(flags.max_request_bytes, MAX_REST_BYTES),
            threads=flags.rest_api_num_threads,
            metrics=self._metrics.page if path else None,
            gate=self._gate.admit,
            check_predict=require_predict_method if check else None,
            answered=self._told_of_rest,
            trace=self._tracing.http if self._tracing else None,
            **({"metrics_path": path} if path else {}),
        )
        return RestServer(
            self._manager,
            [(host.strip("[]"), flags.rest_api_port) for host in flags.bind_addresses],
            classify=functools.partial(examples.ask, "Classify", check_method_name=check),
            regress=functools.partial(examples.ask, "Regress", check_method_name=check),
            settings=settings,
            tls=tls.context(keys, "http/1.1") if keys and flags.rest_api_ssl else None,
        )

    def _told_of_rest(
        self, call: Call, api: str, status: str, seconds: float, error: str, received: int, sent: int
    ) -> None:
        self._observer.answered(call, (api, "REST"), status, seconds, error, (received, sent))


def _manager_settings(flags: Flags) -> Settings:
    retries = RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6)
    check = functools.partial(completeness.check, prefer_tflite=flags.prefer_tflite_model)
    return Settings(flags.file_system_poll_wait_seconds, retries, check)


def _poller(flags: Flags, manager: Manager) -> ConfigPoller | None:
    seconds = flags.model_config_file_poll_wait_seconds
    if flags.model_config_file and seconds > 0:
        return FilePoller(manager, flags.model_config_file, seconds)
    if flags.models and flags.file_system_poll_wait_seconds > 0:
        return FolderPoller(manager, flags.models, flags.file_system_poll_wait_seconds)
    return None
