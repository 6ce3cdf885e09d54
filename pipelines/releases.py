"""Which versions of a model are served, and under which labels.

models/models.config          a ModelServerConfig of all models, for both servers; made anew of what is below
models/NAME/VERSION/          an exported version
models/NAME/releases.json     {"labels": {"stable": 3, "canary": 4}, "former_stable": [1, 2]}

TensorFlow Serving refuses a config whose labels name a version that it does not serve. So a model with labels serves those
versions, the newest, and the one that a rollback goes to, which must be loaded before the label can move there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_tf.quiet import import_tensorflow
from pipelines import checksums, files, model_card
from pipelines.errors import DataDamaged, ReleaseRefused, UsageError
from pipelines.model_card import Card

if TYPE_CHECKING:
    from pipelines.latency import Comparison

CONFIG_FILE = "models.config"
STATE_FILE = "releases.json"
STABLE, CANARY = LABELS = ("stable", "canary")


@dataclass(frozen=True)
class Releases:
    """The labels of a model, and the versions that were stable before, the latest last."""

    labels: dict[str, int] = field(default_factory=dict)
    former_stable: list[int] = field(default_factory=list)

    @property
    def named(self) -> set[int]:
        """Versions that a label names, or a rollback goes to: they are served, and never pruned."""
        return {*self.labels.values(), *self.former_stable[-1:]}


@dataclass(frozen=True)
class Change:
    """A label that moves; `before` is None for a new one, `latency` unless it was measured."""

    label: str
    before: int | None
    after: int
    latency: Comparison | None = None


def versions(base_path: Path) -> list[int]:
    """Numbers of the versions in a base path, ascending."""
    return sorted(int(entry.name) for entry in base_path.glob("*") if entry.name.isdecimal())


def read(base_path: Path) -> Releases:
    """What is released of a model, as far as it is still there. Raises DataDamaged."""
    noted, there = _noted(base_path), set(versions(base_path))
    return Releases(
        {label: version for label, version in noted.labels.items() if version in there},
        [version for version in noted.former_stable if version in there],
    )


def gone(base_path: Path) -> dict[str, int]:
    """Labels that were lost with their versions, which are no longer there. Raises DataDamaged."""
    there = set(versions(base_path))
    return {label: version for label, version in _noted(base_path).labels.items() if version not in there}


def _noted(base_path: Path) -> Releases:
    path = base_path / STATE_FILE
    if not path.is_file():
        return Releases()
    try:
        state = json.loads(path.read_text())
        labels = {str(label): int(version) for label, version in state["labels"].items()}
        former = [int(version) for version in state["former_stable"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDamaged(f"{path} is damaged ({error}). Delete it, and promote the versions anew.") from error
    return Releases(labels, former)


def served(base_path: Path, releases: Releases) -> list[int]:
    """Numbers of the versions that a server of models.config loads, ascending."""
    newest = versions(base_path)[-1:]
    return sorted({*newest, *releases.named})


def current(base_path: Path) -> int:
    """The stable version, or the newest one if none has the label. Raises UsageError, DataDamaged."""
    require_model(base_path)
    return read(base_path).labels.get(STABLE, versions(base_path)[-1])


def write_config(models: Path) -> None:
    """Makes models.config of every model in the folder, as the container sees it: below /models. Raises DataDamaged."""
    # Whoever writes it last must have read what the others wrote into the folder before.
    with files.turn(models):
        names = [
            entry.name for entry in sorted(models.iterdir()) if files.NAME.fullmatch(entry.name) and versions(entry)
        ]
        text = (
            "# Written by cnn-tf export and cnn-tf release, for TensorFlow Serving's container: this folder is /models there.\n"
            "model_config_list {\n" + "".join(_config(models / name) for name in names) + "}\n"
        )
        files.write(models / CONFIG_FILE, text)


def is_told(base_path: Path) -> bool:
    """Whether models.config says of the model what is released; not if a command was killed before. Raises DataDamaged."""
    path = base_path.parent / CONFIG_FILE
    return path.is_file() and _config(base_path) in path.read_text().splitlines(keepends=True)


def _config(base_path: Path) -> str:
    name, releases = base_path.name, read(base_path)
    config = f'name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow"'
    if releases.labels:
        numbers = " ".join(f"versions: {version}" for version in served(base_path, releases))
        config += f" model_version_policy {{ specific {{ {numbers} }} }}"
    for label, version in sorted(releases.labels.items()):
        config += f' version_labels {{ key: "{label}" value: {version} }}'
    return f"  config {{ {config} }}\n"


def promote(
    base_path: Path,
    version: int,
    label: str = STABLE,
    *,
    tolerance: float = 0.0,
    max_slowdown: float | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Change:
    """Points `label` at `version`, which must be whole and, by its card, as accurate as the stable one less `tolerance`.

    tolerance: accuracy, 0..1, that may be lost.
    max_slowdown: percent that it may take longer than the stable version for the same pictures, which is measured if there is
    another stable version; None: it is not asked.
    force: whatever the gate says. dry_run: changes nothing.

    Raises UsageError for a version or label that cannot be, ReleaseRefused by the gate; DataDamaged.
    """
    if label not in LABELS:
        raise UsageError(f"A label is one of {', '.join(LABELS)}. Received: {label!r}.")
    require_version(base_path, version)
    with _held(base_path, dry_run):
        releases = read(base_path)
        before, stable = releases.labels.get(label), releases.labels.get(STABLE, version)
        latency = None
        if not force:
            require_whole(base_path, version)
            _require_accuracy(base_path, version, stable, tolerance)
            if max_slowdown is not None and version != stable:
                latency = _require_speed(base_path, version, stable, max_slowdown)
        former = releases.former_stable
        if label == STABLE and before not in (None, version):
            former = [*(number for number in former if number not in (before, version)), before]
        if not dry_run:
            _write(base_path, Releases({**releases.labels, label: version}, former))
    return Change(label, before, version, latency)


def rollback(base_path: Path, *, force: bool = False, dry_run: bool = False) -> Change:
    """Points stable at the version that was stable before; force: even if it is damaged.

    Raises UsageError if there is none, ReleaseRefused.
    """
    require_model(base_path)
    with _held(base_path, dry_run):
        releases = read(base_path)
        stable = releases.labels.get(STABLE)
        if not releases.former_stable:
            raise UsageError(
                f"No version of {base_path} was stable before{' the one that is' if stable else ''}. "
                f"Choose one: cnn-tf release promote {base_path.name} VERSION."
            )
        *former, version = releases.former_stable
        if not force:
            require_whole(base_path, version)
        if not dry_run:
            _write(base_path, Releases({**releases.labels, STABLE: version}, former))
    return Change(STABLE, stable, version)


def prune(base_path: Path, keep: int, *, dry_run: bool = False) -> list[int]:
    """Removes the versions older than the `keep` newest that are whole, but for those that are named; returns which.

    Raises UsageError.
    """
    if keep < 1:
        raise UsageError(f"At least one version must be kept. Received: {keep}.")
    require_model(base_path)
    with _held(base_path, dry_run):
        named = read(base_path).named
        whole = [version for version in versions(base_path) if not checksums.findings(base_path / str(version))]
        old = [version for version in versions(base_path) if len(whole) >= keep and version < whole[-keep]]
        removed = [version for version in old if version not in named]
        for version in [] if dry_run else removed:
            # Away as a whole for a server that looks on; what a killed process leaves, the next lock clears.
            aside = Path(tempfile.mkdtemp(prefix=files.ASIDE, dir=base_path))
            (base_path / str(version)).rename(aside / str(version))
            shutil.rmtree(aside)
        if removed and not dry_run:
            write_config(base_path.parent)
    return removed


def require_model(base_path: Path) -> None:
    """Raises UsageError for a base path without versions."""
    if not versions(base_path):
        raise UsageError(f"There is no exported model in {base_path}. Export one first: cnn-tf export RUN.")


def _held(base_path: Path, dry_run: bool) -> AbstractContextManager[None]:
    """Keeps others from changing the model meanwhile, if there is something to change. Raises RunBusy."""
    return nullcontext() if dry_run else files.lock(base_path)


def _write(base_path: Path, releases: Releases) -> None:
    files.write(base_path / STATE_FILE, json.dumps(asdict(releases), indent=2) + "\n")
    write_config(base_path.parent)


def require_version(base_path: Path, version: int) -> None:
    """Raises UsageError if it is not there."""
    require_model(base_path)
    if version not in (there := versions(base_path)):
        raise UsageError(f"{base_path} has no version {version}. It has: {', '.join(map(str, there))}.")


def require_whole(base_path: Path, version: int) -> None:
    """Raises ReleaseRefused unless it fits its manifest."""
    if found := checksums.findings(base_path / str(version)):
        raise ReleaseRefused(
            f"{base_path / str(version)} is not as it was exported: {'; '.join(found)}. Export it again as a new version."
        )


def _require_accuracy(base_path: Path, version: int, stable: int, tolerance: float) -> None:
    if version == stable:
        return
    new, old = (_evaluation(base_path, number) for number in (version, stable))
    if (new["data"], new["split"]) != (old["data"], old["split"]):
        raise ReleaseRefused(
            f"The versions {version} and {stable} were evaluated on different pictures, so their accuracies cannot be "
            "compared. Evaluate both runs on the same data set and export them again, or promote with --force."
        )
    # Not "below": a NaN is below nothing. What rounding takes away is not lost accuracy.
    if not new["accuracy"] >= old["accuracy"] - tolerance - 1e-9:
        raise ReleaseRefused(
            f"Version {version} is right for {new['accuracy']:.2%} of the {new['split']} pictures, the stable version {stable} "
            f"for {old['accuracy']:.2%}. Allow the loss with --tolerance, or promote with --force."
        )


def _require_speed(base_path: Path, version: int, stable: int, max_slowdown: float) -> Comparison:
    import_tensorflow()  # takes seconds, so it is only for those who ask
    from pipelines import latency

    measured = latency.compare(base_path / str(version), base_path / str(stable))
    most = 1 + max_slowdown / 100
    # Not "above": nothing is above a NaN.
    if not measured.ratio <= most:
        raise ReleaseRefused(
            f"{measured} Expected at most {most:.2f} times (--max-slowdown {max_slowdown:g}). "
            "Allow more, or promote with --force."
        )
    return measured


def _evaluation(base_path: Path, version: int) -> Card:
    card = model_card.read(base_path / str(version)) or {}
    evaluation = card.get("evaluation") or {}
    if not {"data", "split", "accuracy"} <= evaluation.keys():
        raise ReleaseRefused(
            f"The accuracy of version {version} is not known. Run cnn-tf evaluate before cnn-tf export, "
            "or promote with --force."
        )
    return dict(evaluation)
