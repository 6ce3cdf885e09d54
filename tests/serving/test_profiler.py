"""TensorFlow's profiler through the server's own port, asked by TensorFlow's own client."""

from __future__ import annotations

import grpc
import pytest
import tensorflow as tf

from serving.errors import PermissionDenied
from serving.server.calls import Call
from serving.server.profiler import Profiler
from serving.wire import messages_pb2 as pb

PROFILE = "/tensorflow.ProfilerService/Profile"


def test_tensorflows_client_takes_a_profile(server, tmp_path):
    tf.profiler.experimental.client.trace(f"grpc://{server.grpc_address}", str(tmp_path), 100)
    (file,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert file.stat().st_size > 0


def test_a_profile_without_a_folder_comes_with_the_answer(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        answer = channel.unary_unary(PROFILE)(pb.ProfileRequest(duration_ms=20).SerializeToString(), timeout=30)
    assert b"/host:CPU" in pb.ProfileResponse.FromString(answer).xspace


def test_a_server_for_other_machines_writes_nothing(tmp_path):
    method = Profiler(writes=False).methods()[0]
    request = pb.ProfileRequest(duration_ms=1, repository_root=str(tmp_path), session_id="s", host_name="h")
    with pytest.raises(PermissionDenied, match="comes with the answer"):
        method.answer(request.SerializeToString(), Call(), print)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.ProfileRequest(), "duration_ms must be 1 to 600000. Received: 0."),
        (
            pb.ProfileRequest(duration_ms=1, repository_root="/tmp", session_id="..", host_name="h"),
            "must be plain names. Received: '..'",
        ),
        (pb.ProfileRequest(duration_ms=1, repository_root="/tmp", session_id="s", host_name="a/b"), "plain names"),
    ],
)
def test_what_cannot_be_profiled_is_told(server, request_, text):
    with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PROFILE)(request_.SerializeToString(), timeout=30)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert text in error.value.details()
