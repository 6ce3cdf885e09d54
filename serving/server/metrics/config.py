"""Where the metrics page is, as --monitoring_config_file says."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format

from serving.errors import InvalidArgument
from serving.server.metrics import monitoring_pb2

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def page_path(file: Path | None = None) -> str | None:
    """The page's path on the REST port; None: there is no page. Without a file there is one, at DEFAULT_PATH.

    A file that does not enable it turns it off, as in TensorFlow Serving. Raises InvalidArgument.
    """
    if file is None:
        return DEFAULT_PATH
    config = _read(file).prometheus_config
    path = config.path or DEFAULT_PATH
    if not path.startswith("/"):  # the original takes it too, but then nobody can ask for it
        path = f"/{path}"
    return path if config.enable else None


def _read(file: Path) -> monitoring_pb2.MonitoringConfig:
    try:
        return text_format.Parse(file.read_bytes(), monitoring_pb2.MonitoringConfig())
    except OSError as error:
        raise InvalidArgument(f"Cannot read the monitoring config file {file}: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"Error parsing text-format tensorflow.serving.MonitoringConfig: {file}:{error}"
        ) from error
