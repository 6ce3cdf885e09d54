"""A podman of the tests' own: storage, network and state in one folder, so that nothing of the machine's is touched."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Each is a Debian package and a program in one of these folders.
PROGRAMS = ("podman", "runc", "catatonit", "netavark", "iptables")
PROGRAM_FOLDERS = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/lib/podman:/usr/libexec/podman"
# The one file that podman writes outside, whatever it is told.
CACHE = Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb")
NETWORK = "tests"

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""
# runc, cgroupfs and limits that the kernel grants: small virtual machines have neither systemd nor all cgroups.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


class NoEngine(Exception):
    """Containers cannot be run here; the message says why."""


class Engine:
    """Runs podman commands on storage in `folder`."""

    def __init__(self, folder: Path) -> None:
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] % 2**63, 1048576)
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder, files=files))
        self._folder = folder
        self._leaves_cache = CACHE.exists()
        self._environment = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "BUILDAH_FORMAT": "docker",  # the other format has no HEALTHCHECK
        }

    def __call__(self, *arguments: str | Path, timeout: float = 120) -> str:
        """What `podman ARGUMENTS` prints. Raises RuntimeError if it fails."""
        result = self.run(*arguments, timeout=timeout)
        if result.returncode:
            command = " ".join(map(str, arguments))
            raise RuntimeError(f"podman {command} failed with {result.returncode}: {result.stdout}{result.stderr}")
        return result.stdout.strip()

    def run(self, *arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """`podman ARGUMENTS`, finished. It warns of the systemd that is not there unless told not to."""
        command = ["podman", "--log-level=fatal", *map(str, arguments)]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=timeout)

    def wait_until_healthy(self, container: str, timeout: float = 120) -> None:
        """Runs the image's HEALTHCHECK, as a daemon would, until it succeeds. Raises RuntimeError with the logs."""
        end = time.monotonic() + timeout
        pause = threading.Event()
        state = ""
        while state != "running healthy":
            pause.wait(0.3)
            check = self.run("healthcheck", "run", container)
            state = self("inspect", container, "--format={{.State.Status}} {{.State.Health.Status}}")
            if not state.startswith("running") or time.monotonic() > end:
                logs = self.run("logs", container)
                raise RuntimeError(f"{container} is {state}: {check.stdout}{check.stderr}{logs.stdout}{logs.stderr}")

    def close(self) -> None:
        """Removes containers, images, networks and the mounts below the folder."""
        for command in ("rm --all --force --time=0", "rmi --all --force", f"network rm --force {NETWORK}"):
            self.run(*command.split())
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((point for point in mounts if point.startswith(f"{self._folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=True)
        if not self._leaves_cache:
            CACHE.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: somebody else's
                CACHE.parent.rmdir()
                CACHE.parent.parent.rmdir()


@contextmanager
def private_engine() -> Iterator[Engine]:
    """An engine that leaves nothing behind. Raises NoEngine."""
    _require_programs()
    # Not in a deeper folder: podman refuses long paths.
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    engine = Engine(folder)
    try:
        created = engine.run("network", "create", "--disable-dns", NETWORK)
        if created.returncode:
            raise NoEngine(f"podman does not work here: {created.stderr.strip()}")
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder)


def _require_programs() -> None:
    """In CI, installs what is missing; a person's machine is not changed by a test. Raises NoEngine."""
    if os.geteuid() != 0:
        raise NoEngine("containers with private storage and published ports need root")
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        raise NoEngine("the base image is cut from Debian packages, and this is no Debian")
    missing = [program for program in PROGRAMS if not shutil.which(program, path=PROGRAM_FOLDERS)]
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if missing and not os.environ.get("CI"):
        raise NoEngine(f"no container engine; to have one: {' '.join(install)} (done by itself if CI is set)")
    if missing and not _succeeds(install) and not (_succeeds(["apt-get", "update", "-qq"]) and _succeeds(install)):
        raise NoEngine(f"apt-get cannot install {', '.join(missing)}")


def _succeeds(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=300).returncode == 0
