"""The model card of an exported version: what it is, how good, its limits, and how to ask it. No place on a machine is in it.

assets.extra/model_card.json   for programs: `cnn-tf release` compares versions by it
assets.extra/model_card.md     the same for people
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import yaml

from pipelines.errors import DataDamaged
from pipelines.runs import LIBRARIES, Run, environment

if TYPE_CHECKING:  # a card is read without them
    import keras

    from pipelines.calibration import Calibration
    from pipelines.config import ExportConfig
    from pipelines.manifest import DataSet
    from pipelines.saved_model import Graph
    from pipelines.worth import Worth

FOLDER = Path("assets.extra")
JSON_FILE, MARKDOWN_FILE = FOLDER / "model_card.json", FOLDER / "model_card.md"
PICTURE_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")

Card = dict[str, Any]


def write(folder: Path, card: Card) -> None:
    """Puts the card into the version folder, in both forms."""
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / JSON_FILE).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / MARKDOWN_FILE).write_text(markdown(card), encoding="utf-8")


class Origin(NamedTuple):
    """What a version is made of."""

    run: Run
    network: keras.Model
    """As the run trained it."""
    data: DataSet
    config: ExportConfig


class Findings(NamedTuple):
    """What was measured of a version."""

    evaluation: dict[str, Any] | None = None
    calibration: Calibration | None = None
    worth: Worth | None = None
    """What it is beside the trained network, if it is optimized."""


def describe(folder: Path, graph: Graph, name: str, version: int, origin: Origin, findings: Findings) -> Card:
    """The card of a version of the model `name`, whose SavedModel is in `folder` with this graph."""
    run, network, data, config = origin
    height, width, channels = network.input_shape[1:]
    facts = run.environment
    versions = environment(run.config.seed)
    return {
        "name": name,
        "version": version,
        "exported": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "licence": config.licence,
        "architecture": run.config.model,
        "parameters": _count(network.weights),
        "trainable_parameters": _count(network.trainable_weights),
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        # Imported weights were trained on what their file alone knows.
        "data": {"name": data.name, "fingerprint": facts["data"]} if "data" in facts else None,
        "weights": facts.get("weights"),
        "evaluation": _evaluation(findings.evaluation),
        "calibration": dataclasses.asdict(findings.calibration) if findings.calibration else None,
        "optimization": _optimization(config, findings.worth) if findings.worth else None,
        "limits": {
            "height": height,
            "width": width,
            "channels": channels,
            "pixel_values": [0, 255],
            "picture_formats": list(PICTURE_FORMATS),
            "max_pixels": config.max_pixels,
            "classes": list(data.class_names),
        },
        "signatures": graph.signatures,
        "config": _without_folders(run.config.model_dump(mode="json")),
        "libraries": {
            name: {"training": facts[name], "export": versions[name]}
            for name in ("python", *LIBRARIES)
            if name in facts
        },
        "operators": graph.operators,
    }


def read(folder: Path) -> Card | None:
    """The card of the version in `folder`, if it has one. Raises DataDamaged."""
    if not (folder / JSON_FILE).is_file():
        return None
    try:
        return dict(json.loads((folder / JSON_FILE).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataDamaged(f"{folder / JSON_FILE} is damaged ({error}). Export the model again.") from error


def markdown(card: Card) -> str:
    """The card as a page in Markdown."""
    from pipelines.reports.figures import percent
    from pipelines.reports.page import readable_bytes

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "plain": _plain,
        "tensor": _tensor,
        "bytes": readable_bytes,
        "percent": percent,
        "yaml": _yaml,
    }
    return templates.get_template("model_card.md.jinja").render(card)


def _count(weights: Sequence[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _optimization(config: ExportConfig, worth: Worth) -> dict[str, Any]:
    from pipelines.optimization import VARIANTS

    facts = {"name": config.optimize, "description": VARIANTS[config.optimize].description, "xla": config.xla}
    return {**facts, **dataclasses.asdict(worth), "accuracy_drop": worth.accuracy_drop}


def _evaluation(evaluation: dict[str, Any] | None) -> dict[str, Any] | None:
    kept = ("split", "examples", "data", "accuracy", "loss", "per_class")
    return None if evaluation is None else {key: evaluation[key] for key in kept if key in evaluation}


def _without_folders(value: Any) -> Any:
    """The same, where paths have their last part alone: whose folders they are is nobody's business."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    return Path(value).name if isinstance(value, str) else value


def _plain(text: object) -> str:
    """Text on one line that is no Markdown, whatever is in it."""
    return re.sub(r"([\\`*<>\[\]|&])", r"\\\1", " ".join(str(text).split()))


def _tensor(tensor: dict[str, Any]) -> str:
    """{"dtype": "uint8", "shape": [None, 28, 28, 1]} -> "uint8 (batch, 28, 28, 1)"."""
    axes = ["batch" if axis is None else str(axis) for axis in tensor["shape"]]
    return f"{tensor['dtype']} ({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True)).rstrip()
