from __future__ import annotations

from pathlib import Path

import pytest

import serving
from serving.errors import InvalidArgument
from serving.server.metrics.config import DEFAULT_PATH, page_path


def test_the_page_is_on_without_a_file():
    assert page_path() == DEFAULT_PATH == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", DEFAULT_PATH),
        ('prometheus_config: {\n  enable: true,\n  path: "/metrics"\n}', "/metrics"),
        ('prometheus_config { enable: true path: "metrics" }', "/metrics"),
        ("prometheus_config { enable: false }", None),
        ("prometheus_config { }", None),
        ("# nothing\n", None),
    ],
)
def test_a_file_says_where_the_page_is(tmp_path, text, path):
    (tmp_path / "monitoring.config").write_text(text)
    assert page_path(tmp_path / "monitoring.config") == path


@pytest.mark.parametrize("content", [b"prometheus_config { enable: maybe }", b"other_config {}", b"\xff", b"{"])
def test_a_wrong_file_is_told_as_the_original_does(tmp_path, content):
    (tmp_path / "monitoring.config").write_bytes(content)
    with pytest.raises(InvalidArgument, match=r"^Error parsing text-format tensorflow\.serving\.MonitoringConfig: "):
        page_path(tmp_path / "monitoring.config")


def test_the_file_that_comes_with_the_container():
    assert page_path(Path(serving.__path__[0]) / "deploy" / "monitoring.config") == DEFAULT_PATH


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidArgument, match="with a tensorflow.serving.MonitoringConfig: No such file"):
        page_path(tmp_path / "none")
