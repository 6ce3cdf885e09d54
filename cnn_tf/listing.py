"""`cnn-tf models`: what can be built; `cnn-tf describe`: what one network is made of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cnn_tf import console, naming
from cnn_tf.errors import NetworkError
from cnn_tf.promises import PROMISES
from cnn_tf.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnn_tf.description import LayerRow
    from cnn_tf.examination import Report

WIDE = 120  # columns from which the papers have room
PLOTS = (".svg", ".png")
NUMBERS = ("params", "parameters", "MACs", "sees", "top-1")


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Write all that is known as a JSON list.")] = False,
) -> None:
    """List the architectures that `cnn-tf train --set model=NAME` takes.

    Parameters are the trainable ones with the default number of classes. MACs are multiply-adds for one picture. "sees" is
    the side of the receptive field before the classifier. top-1 is the published accuracy on ImageNet, in %, of those
    weights of torchvision (V1) that fit; "measured" is our own. From 120 columns on, the papers are shown too.

    Example: cnn-tf models --json
    """
    if as_json:
        rows = [{**promise._asdict(), "parameters": promise.parameters} for promise in PROMISES.values()]
        console.out.print_json(json.dumps(rows))
        return
    _print_whole(models_table(papers=not console.out.is_terminal or console.out.width >= WIDE))


def models_table(*, papers: bool) -> Table:
    """80 columns wide, or 120 with the papers. A blank line parts papers."""
    table = _table("model", "input, classes", "params", "MACs", "sees", "top-1", "measured", *["paper"] * papers)
    if papers:
        table.columns[7].max_width = 38
    for paper, promises in itertools.groupby(PROMISES.values(), lambda promise: promise.paper):
        for promise in promises:
            table.add_row(
                promise.name,
                f"{naming.shape_text(promise.input)}, {promise.classes}",
                *(naming.short(number) for number in (promise.parameters, promise.macs)),
                str(promise.receptive_field),
                "" if promise.top1 is None else f"{promise.top1:.2f}",
                promise.measured.partition(" (")[0].replace("Fashion-", "F-"),
                *[paper] * papers,
            )
            paper = ""  # said once
        table.add_section()
    return table


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Architecture; `cnn-tf models` lists them.")],
    size: Annotated[
        str | None, typer.Option("--input", metavar="HxWxC", help="Shape of a picture (default: the paper's).")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of classes (default: the paper's).")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures to estimate the memory for.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of tables.")] = False,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Draw the network too, as .svg or .png.")
    ] = None,
) -> None:
    """Show a network layer by layer: output shapes, parameters, multiply-adds (MACs), and what a value sees of the picture.

    Memory is an estimate by arithmetic, of float32 numbers: the weights; the outputs of all layers, which training keeps;
    the inputs and outputs of the one layer where they are largest together, which is what inference needs at once. What
    TensorFlow adds to that (gradients, the optimizer's state, work space) or saves is not in it.

    Example: cnn-tf describe resnet50 --input 288x288x3 --classes 10 --batch 64 --plot resnet50.svg
    """
    _require_drawable(plot)
    shape = None if size is None else naming.parse_shape(size)
    import_tensorflow()
    from cnn_tf import examination

    report = examination.examine(name, shape, classes, batch)
    if as_json:
        console.out.print_json(json.dumps(report.as_json()))
    else:
        table = layers_table(report.layers, kinds=True)
        if console.out.is_terminal and _width(table) > console.out.width:
            table = layers_table(report.layers, kinds=False)
        _print_whole(table)
        _print_whole(_summary(report))
    if plot is not None:
        from cnn_tf import diagram

        diagram.save(report.layers, name, plot)
        console.note(f"Wrote {plot}")


def layers_table(rows: Iterable[LayerRow], *, kinds: bool) -> Table:
    """A row a layer. Names end in the kind, so narrow windows can do without a column of kinds."""
    table = _table("layer", *["kind"] * kinds, "output", "parameters", "MACs", "sees")
    for row in rows:
        table.add_row(
            row.name,
            *[row.kind] * kinds,
            naming.shape_text(row.output_shape),
            *(f"{number:,}" if number else "" for number in (row.parameters, row.macs)),
            "all" if row.receptive_field is None else str(row.receptive_field),
        )
    return table


def _summary(report: Report) -> Table:
    memory, batch = report.memory, f"{report.batch} picture{'s' * (report.batch > 1)}"
    table = Table.grid(padding=(0, 2))
    rows = {
        "layers": f"{len(report.layers):,}",
        "trainable parameters": f"{report.parameters:,}",
        "other numbers kept": f"{report.fixed:,} (statistics of normalisation, fixed weights)",
        "MACs": f"{report.macs:,} for a picture",
        "weights": _mebibytes(memory.weights),
        "training": f"{_mebibytes(memory.training)} for the outputs of all layers for {batch}",
        "inference": f"{_mebibytes(memory.inference)} at {memory.inference_layer}, inputs and outputs for {batch}",
    }
    table.add_row()
    for key, text in rows.items():
        table.add_row(key, text)
    table.add_row("", "Memory is estimated by arithmetic, in float32.")
    return table


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB"


def _require_drawable(plot: Path | None) -> None:
    if plot is None:
        return
    if plot.suffix.lower() not in PLOTS:
        raise NetworkError(f"--plot takes a file that ends in {' or '.join(PLOTS)}. Received: {plot}.")
    if not plot.parent.is_dir():
        raise NetworkError(f"--plot takes a file in a folder that exists. Received: {plot}.")


def _table(*headers: str) -> Table:
    """Without frames; columns of numbers stand at the right."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(
            header, no_wrap=header not in ("measured", "paper"), justify="right" if header in NUMBERS else "left"
        )
    return table


def _width(table: Table) -> int:
    """Columns that it takes to show the table whole."""
    return Measurement.get(console.out, console.out.options.update(max_width=10_000), table).maximum


def _print_whole(table: Table) -> None:
    """Prints the table as wide as it is: in a pipe or a narrow window, nothing is cut."""
    wide = Console(file=console.out.file, width=max(_width(table), 1), highlight=False, markup=False, emoji=False)
    wide.print(table)
