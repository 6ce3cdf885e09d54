"""Where the metrics page is, as --monitoring_config_file says."""

from __future__ import annotations

from pathlib import Path

from serving.server import text_proto
from serving.server.metrics import monitoring_pb2

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def page_path(file: Path | None = None) -> str | None:
    """The page's path on the REST port; None: there is no page. Without a file there is one, at DEFAULT_PATH.

    A file that does not enable it turns it off, as in TensorFlow Serving. Raises InvalidArgument.
    """
    if file is None:
        return DEFAULT_PATH
    message = text_proto.read(file, monitoring_pb2.MonitoringConfig(), "tensorflow.serving.MonitoringConfig")
    config = message.prometheus_config
    path = config.path or DEFAULT_PATH
    if not path.startswith("/"):  # the original takes it too, but then nobody can ask for it
        path = f"/{path}"
    return path if config.enable else None
