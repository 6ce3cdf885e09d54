from __future__ import annotations

import pytest
from tensorflow.core.protobuf import config_pb2

from serving.errors import InvalidArgument
from serving.server import session_config


def test_a_session_config_is_read(tmp_path):
    file = tmp_path / "session.config"
    file.write_text("intra_op_parallelism_threads: 3, gpu_options: { allow_growth: true }")
    config = config_pb2.ConfigProto.FromString(session_config.read(file))
    assert (config.intra_op_parallelism_threads, config.gpu_options.allow_growth) == (3, True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "Cannot read the file .* with a tensorflow.ConfigProto: No such file or directory."),
        (b"threads: 3", r"Error parsing text-format tensorflow.ConfigProto: .*session.config:1:1"),
        (b"\xff\xfe", "Error parsing text-format tensorflow.ConfigProto"),
    ],
)
def test_a_damaged_file_is_told(tmp_path, content, told):
    file = tmp_path / "session.config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidArgument, match=told):
        session_config.read(file)
