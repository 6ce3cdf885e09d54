"""TensorFlow's profiler over the server's own port: what `tf.profiler.experimental.client.trace` asks for.

TensorFlow's own profiler server listens on all interfaces, without encryption or a check of who asks, so it is not used; the
session that it runs is.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from tensorflow.python.profiler.internal import _pywrap_profiler

from serving import errors
from serving.server.calls import Call, Reply, Unary
from serving.server.inference import parse
from serving.wire import messages_pb2 as pb

SERVICE = "/tensorflow.ProfilerService/"
# A profile takes memory for every operation that runs.
MAX_SECONDS = 600.0
_NAME = re.compile(r"[A-Za-z0-9_][\w.:-]{0,127}", re.ASCII)


class Profiler:
    """`tensorflow.ProfilerService`: one profile at a time."""

    def __init__(self, *, writes: bool = True) -> None:
        """writes: whether clients may have profiles written to folders of this machine, which they name."""
        self._writes = writes
        self._busy = threading.Lock()
        self._end = threading.Event()

    def methods(self) -> list[Unary]:
        """Profile and Terminate; TensorFlow has a Monitor too, which only TPUs answer."""
        return [
            Unary(SERVICE + "Profile", self._profile, blocking=True),
            Unary(SERVICE + "Terminate", self._terminate),
        ]

    def _profile(self, data: bytes, call: Call, reply: Reply) -> None:
        request = parse(pb.ProfileRequest, data)
        seconds = request.duration_ms / 1000
        if not 0 < seconds <= MAX_SECONDS:
            raise errors.InvalidArgument(
                f"duration_ms must be 1 to {MAX_SECONDS * 1000:.0f}. Received: {request.duration_ms}."
            )
        target = _target(request) if request.repository_root else None
        if target and not self._writes:
            raise errors.PermissionDenied(
                "A server that listens beyond this machine writes no profiles to its disk. Leave repository_root out, and "
                "the profile comes with the answer."
            )
        if not self._busy.acquire(blocking=False):
            raise errors.FailedPrecondition("Another profile is being taken. Try again when it is over.")
        try:
            self._end.clear()
            call.on_cancel(self._end.set)
            session = _pywrap_profiler.ProfilerSession()
            session.start("", {})
            self._end.wait(seconds)
            space: bytes = session.stop()
        finally:
            self._busy.release()
        if target:
            _write(target, space)
        reply(pb.ProfileResponse(empty_trace=not space, xspace=b"" if target else space).SerializeToString())

    def _terminate(self, data: bytes, call: Call, reply: Reply) -> None:
        self._end.set()
        reply(b"")


def _target(request: pb.ProfileRequest) -> Path:
    """Where TensorBoard looks for the profile; names from the network stay below the folder that was asked for."""
    for name in (request.session_id, request.host_name):
        if not _NAME.fullmatch(name):
            raise errors.InvalidArgument(f"session_id and host_name must be plain names. Received: {name!r}.")
    return Path(request.repository_root) / request.session_id / f"{request.host_name.replace(':', '_')}.xplane.pb"


def _write(target: Path, space: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(space)
    except OSError as error:
        raise errors.PermissionDenied(f"The profile cannot be written to {target}: {error.strerror}.") from error
