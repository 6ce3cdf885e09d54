"""The wheel that `make wheel` builds: it must behave as the checkout does."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["cnn_tf", "pipelines", "serving"]
OPTIMISED = 'opt_level = "3"'
# What goes through all that is compiled.
TESTS = [
    "serving/batching",
    "serving/http2/test_listening.py",
    "serving/http2/test_protocol.py",
    "serving/observe/test_observer.py",
    "serving/contract/test_predict.py",
]

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with the wheel, and with this one's packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", source)
    # The compiler's optimisations take two minutes, and change nothing that the tests look at.
    settings = (ROOT / "pyproject.toml").read_text()
    assert OPTIMISED in settings
    (source / "pyproject.toml").write_text(settings.replace(OPTIMISED, 'opt_level = "0"'))
    run(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        f"--outdir={folder}",
        source,
        HATCH_BUILD_HOOKS_ENABLE="1",
    )
    (wheel,) = folder.glob("*.whl")
    home = folder / "env"
    venv.create(home, with_pip=False)
    here = sysconfig.get_paths()["purelib"]
    site = sysconfig.get_path("purelib", vars={"base": str(home)})
    Path(site, "packages.pth").write_text(here)
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", f"--target={site}", wheel)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return home / "bin" / "python"


def run(*command, cwd=None, **environment):
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert not done.returncode, done.stdout[-10_000:]
    return done.stdout


def test_what_every_request_goes_through_is_compiled(python):
    code = "import serving.server.calls, serving.server.transports.http2.connection as c; print(c.__file__)"
    assert run(python, "-c", code, cwd=python.parent).strip().endswith(".so")
    assert not list(ROOT.glob("serving/**/*.so"))


def test_it_passes_the_same_tests(python):
    folder = python.parents[2]
    told = run(python, "-m", "pytest", "-q", "-n0", *[f"tests/{test}" for test in TESTS], cwd=folder)
    assert " passed" in told
