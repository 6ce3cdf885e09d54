"""`cnn-tf models`: what can be built."""

from __future__ import annotations

import inspect
import json
import math
from typing import Annotated

import typer
from rich.table import Table

from cnn_tf import console
from cnn_tf.quiet import import_tensorflow


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON list instead of a table.")] = False,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes to count parameters for.")] = 10,
) -> None:
    """List the architectures that `cnn-tf train --set model=NAME` takes.

    Example: cnn-tf models --json
    """
    import_tensorflow()
    from cnn_tf import MODELS, build

    rows = []
    for name, builder in MODELS.items():
        shape = inspect.signature(builder).parameters["input_shape"].default
        parameters = sum(math.prod(weight.shape) for weight in build(name, shape, classes).trainable_weights)
        rows.append({"name": name, "input_shape": shape, "parameters": parameters})
    if as_json:
        console.out.print_json(json.dumps(rows))
        return
    table = Table("model", "input (height, width, channels)", f"parameters ({classes} classes)")
    table.columns[2].justify = "right"
    for row in rows:
        table.add_row(row["name"], "×".join(map(str, row["input_shape"])), f"{row['parameters']:,}")
    console.out.print(table)
