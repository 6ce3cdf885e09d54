"""The serving image for real: built, run with every right taken away, asked, and stopped.

TensorFlow Serving itself cannot be had without a registry. Our server stands in for it, under its program names and behind
its entry point, in an image whose files come from this Debian and whose Python packages are those of the running test.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from container import engine as engines

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BASE, SERVING, APP = "localhost/base:1", "localhost/serving:1", "localhost/app:1"

# Published to this machine alone, on ports that podman chooses.
HARDENED = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges"]
PUBLISHED = ["--publish=127.0.0.1::8500", "--publish=127.0.0.1::8501", f"--network={engines.NETWORK}"]

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine():
    try:
        with engines.private_engine() as private:
            yield private
    except engines.NoEngine as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def context(tmp_path_factory, workplace) -> Path:
    """A checkout after `cnn-tf export`, with what must not get into the image."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "serving", folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(workplace / "models", folder / "models")
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in (
        "models/.aside-1.config",
        "models/.lock",
        "models/patterns/.lock",
        "models/patterns/.aside-2/variables",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    # As an umask of 077 leaves it.
    (folder / "models/models.config").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def image(engine, context, tmp_path_factory) -> str:
    """The project's image on top of the stand-in."""
    folder = tmp_path_factory.mktemp("standin")
    with (folder / "base.tar").open("wb") as file:
        subprocess.run(["bash", HERE / "base.sh", python()], stdout=file, check=True, timeout=60)
    engine("import", "--quiet", folder / "base.tar", BASE)
    shutil.copytree(HERE / "standin", folder / "standin")
    shutil.copytree(context / "serving", folder / "standin" / "serving")
    arguments = {"BASE": BASE, "PYTHON": python(), "PYTHON_PATH": ":".join(map(str, package_folders()))}
    build(engine, SERVING, folder / "standin", arguments)
    build(engine, APP, context, {"SERVING_IMAGE": SERVING, "VERSION": "1.2.3"})
    return APP


def write_models_config(models: Path, name: str) -> None:
    config = f'config {{ name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow" }}'
    (models / "models.config").write_text(f"model_config_list {{ {config} }}")


def python() -> Path:
    """The running interpreter, outside of any virtual environment."""
    return Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))


def package_folders() -> list[Path]:
    """Where this interpreter finds the server's dependencies."""
    origins = [importlib.util.find_spec(name).origin for name in ("tensorflow", "grpc", "uvicorn")]
    return sorted({Path(origin).parent.parent for origin in origins})


def build(engine, tag, folder, arguments, *options):
    # --pull=never: no registry is asked for what is not there.
    flags = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    engine("build", "--quiet", "--pull=never", f"--tag={tag}", *flags, *options, folder)


@contextmanager
def running(engine, *options: str) -> Iterator[str]:
    """A healthy container of the image; gives its name."""
    prefixes = [] if sys.base_prefix == "/usr" else [Path(sys.base_prefix)]
    mounts = [f"--volume={folder}:{folder}:ro" for folder in (*prefixes, *package_folders())]
    name = engine("run", "--detach", "--pull=never", *HARDENED, *PUBLISHED, *mounts, *options, APP)
    try:
        engine.wait_until_healthy(name)
        yield name
    finally:
        engine("rm", "--force", "--time=0", name)


@pytest.fixture(scope="module")
def container(engine, image):
    with running(engine) as name:
        yield name


@pytest.fixture(scope="module")
def grpc_address(engine, container):
    return engine("port", container, "8500")


@pytest.fixture(scope="module")
def rest_url(engine, container):
    return f"http://{engine('port', container, '8501')}/v1/models/patterns"


@pytest.fixture(scope="module")
def images(data_set):
    from pipelines import dataset
    from pipelines.config import DataConfig

    return dataset.pictures(data_set.splits["test"].take(slice(8)), DataConfig(), (28, 28, 1))


@pytest.fixture(scope="module")
def expected(workplace, images):
    """What the exported model answers in this process."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(workplace / "models/patterns/1"))
    return {name: value.numpy() for name, value in loaded.signatures["serving_default"](tf.constant(images)).items()}


def test_metadata(engine, image):
    config = json.loads(engine("image", "inspect", image))[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/usr/bin/tf_serving_entrypoint.sh"]
    assert set(config["ExposedPorts"]) == {"8500/tcp", "8501/tcp"}
    labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items() if key.startswith("org.")}
    assert labels["title"] == "cnn-tf-serving"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == "1.2.3"


def test_build_context_is_models_and_settings(engine, image, context, tmp_path):
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    build(engine, "localhost/context:1", context, {}, f"--file={tmp_path / 'Containerfile'}")
    root = Path(engine("image", "mount", "localhost/context:1"))
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    exported = {str(path.relative_to(context)) for path in context.glob("models/patterns/1/**/*") if path.is_file()}
    settings = {str(path.relative_to(context)) for path in context.glob("serving/deploy/**/*") if path.is_file()}
    assert names == exported | settings | {"models/models.config"}
    assert len(exported) > 3


def test_process_has_no_rights(engine, container):
    status = dict(line.split(":\t") for line in engine("exec", container, "cat", "/proc/1/status").splitlines())
    assert status["Name"].startswith("python")
    assert set(status["Uid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert engine.run("exec", "--user=0", container, "touch", "/models/file").returncode == 1


def test_client(grpc_address, images, expected):
    from serving.client import PredictClient

    with PredictClient(grpc_address, "patterns") as client:
        answer = client.predict({"images": images})
    assert answer.version == 1
    np.testing.assert_allclose(answer["logits"], expected["logits"], atol=1e-4)
    assert answer["top_labels"].tolist() == expected["top_labels"].tolist()


def test_predict_command(grpc_address, images, expected, tmp_path):
    from PIL import Image

    Image.fromarray(images[0, :, :, 0]).save(tmp_path / "picture.png")
    command = [
        Path(sysconfig.get_path("scripts"), "cnn-tf"),
        "predict",
        "--server",
        grpc_address,
        "--model",
        "patterns",
    ]
    result = subprocess.run(
        [*command, "picture.png", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    [answer] = json.loads(result.stdout)
    assert answer["class"] == expected["top_labels"][0, 0].decode()
    assert answer["probability"] == pytest.approx(expected["top_scores"][0, 0], abs=1e-4)


def test_rest(rest_url, images, expected):
    body = json.dumps({"instances": images.tolist()}).encode()
    with urllib.request.urlopen(f"{rest_url}:predict", body, timeout=10) as response:
        rows = json.load(response)["predictions"]
    np.testing.assert_allclose([row["logits"] for row in rows], expected["logits"], atol=1e-4)


def test_mounted_models_and_stop(engine, image, workplace, tmp_path):
    """Another folder of models over the image's own; SIGTERM ends the server, with 0, well before the engine's patience."""
    shutil.copytree(workplace / "models/patterns", tmp_path / "models/other")
    write_models_config(tmp_path / "models", "other")
    with running(engine, f"--volume={tmp_path / 'models'}:/models:ro") as name:
        assert "healthy: other" in engine("exec", name, "/usr/bin/serving_healthcheck.sh")
        begin = time.monotonic()
        engine("stop", "--time=10", name)
        assert time.monotonic() - begin < 10
        assert engine("inspect", name, "--format={{.State.ExitCode}}") == "0"
