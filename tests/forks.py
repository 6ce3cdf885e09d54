"""Forks what tests start off a process that has TensorFlow imported, which takes each of them 3 s of CPU otherwise.

To the test, its command is a process as any other, with a number, signals and an exit code; to the command, all is as after
`python -m`, but for when its modules were imported. A test of that, or of what is said meanwhile, takes the fixture `unforked`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

# <linux/prctl.h>: whose parent has ended becomes a child of this process, not of the system's first.
PR_SET_CHILD_SUBREAPER = 36

ORIGINAL = "import sys; from serving.server.main import tensorflow_model_server; sys.exit(tensorflow_model_server())"
# What a command imports, by how it begins behind `python`.
KINDS = {
    ("-m", "serving.server"): "server",
    ("-c", ORIGINAL): "server",
    ("-m", "folder_source"): "training",
    **{("-m", "cnn_tf", name): "training" for name in ("data", "evaluate", "export", "prepare", "train")},
}
_lock = threading.Lock()


class Forked(subprocess.Popen):
    """Popen, of which a parent of the command's kind does the forking."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others):
        # The six ends of pipes come after startupinfo, creationflags and shell; those of the child are every other one.
        ends = [given if given != -1 else usual for usual, given in enumerate((others[3], others[6], others[8]))]
        kind = kind_of(args)
        if not kind or env is not None or "LD_PRELOAD" in os.environ or any(map(os.isatty, ends)):
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others)
            return
        self.pid = parent(kind).fork([*map(str, args[1:])], str(cwd or Path.cwd()), ends)
        self._child_created = True
        self._close_pipe_fds(*others[3:9])


def kind_of(command: object) -> str | None:
    """What it imports; None: it is not one to be forked."""
    if not isinstance(command, (list, tuple)) or command[0] != sys.executable:
        return None
    return KINDS.get(tuple(command[1:3])) or KINDS.get(tuple(command[1:4]))


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """For the time of the block, where the system lets a process adopt others' children."""
    if sys.platform != "linux":
        yield
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    usual, subprocess.Popen = subprocess.Popen, Forked
    try:
        yield
    finally:
        subprocess.Popen = usual
        parent.cache_clear()


@contextlib.contextmanager
def suspended() -> Iterator[None]:
    """For the time of the block, processes start as ever."""
    current = subprocess.Popen
    subprocess.Popen = Forked.__base__
    try:
        yield
    finally:
        subprocess.Popen = current


class Parent:
    """A process of this file, which ends when its connection does."""

    def __init__(self, kind: str) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Python 3.12 warns of forks beside threads; the only one there is OpenBLAS's, which is made for it.
        command = [sys.executable, "-W", "ignore::DeprecationWarning:__main__", __file__, kind, str(theirs.fileno())]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        with theirs:
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True, **silent)

    def fork(self, arguments: Sequence[str], folder: str, descriptors: Sequence[int]) -> int:
        """The number of a child, of this process from now on, that does what `python ARGUMENTS` would."""
        request = json.dumps([arguments, folder, dict(os.environ)]).encode()
        with _lock:
            socket.send_fds(self.connection, [request], descriptors)
            number = int(self.connection.recv(100))
            self.connection.recv(100)  # adopted
        return number

    def __del__(self) -> None:
        self.connection.close()
        self.process.wait()


parent = functools.cache(Parent)


def import_all(kind: str) -> None:
    """What takes its time."""
    if kind == "server":
        from serving.server import imports, main  # noqa: F401

        imports.tensorflow()
        from serving.server import server  # noqa: F401
    else:
        from cnn_tf.quiet import import_tensorflow

        import_tensorflow()
        from pipelines import commands, data_commands, data_service  # noqa: F401


def serve(connection: socket.socket, inherited: Sequence[str]) -> list[str]:
    """Forks as it is told. Returns in each child, made what it shall be, with its arguments."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, 2**20, 3)
        if not request:
            os._exit(0)
        between = os.fork()
        if not between:
            child = os.fork()
            if child:
                connection.send(b"%d" % child)
                os._exit(0)  # which makes the child an orphan, to be adopted
            connection.close()
            break
        os.waitpid(between, 0)
        connection.send(b"adopted")
        for descriptor in descriptors:
            os.close(descriptor)
    os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    arguments, folder, environment = json.loads(request)
    os.chdir(folder)
    for name in inherited:
        if name not in environment:
            del os.environ[name]
    os.environ.update(environment)
    return arguments


def run(arguments: Sequence[str]) -> None:
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    if how == "-m":
        sys.path[0] = str(Path.cwd())
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        exec(what, {"__name__": "__main__"})


if __name__ == "__main__":
    before = list(os.environ)
    import_all(sys.argv[1])
    run(serve(socket.socket(fileno=int(sys.argv[2])), before))
