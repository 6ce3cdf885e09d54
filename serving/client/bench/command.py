"""`cnn-tf bench-client`: puts a load on a server and tells how it bears it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving import wire
from serving.client import pictures
from serving.client.bench import load, report, requests
from serving.client.bench.load import Load, Measured
from serving.client.connection import DEFAULT_CONNECTION
from serving.client.core import DEFAULT_TIMEOUT
from serving.client.pictures import WrongUse
from serving.client.predict import PredictClient

DEFAULT_CALLERS = 4
FIGURES = (".svg", ".png")


def bench_client(
    server: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server's gRPC address.")],
    model: Annotated[str, typer.Option(help="Name of the model on the server.")],
    callers: Annotated[
        int | None,
        typer.Option(min=1, help=f"Closed loop: so many ask, wait, and ask again. Without --rate: {DEFAULT_CALLERS}."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Open loop: so many requests per second, which come at random and wait for none."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long is measured.")] = 10.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of the same load before, not measured.")] = 2.0,
    picture: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Send this file; else random values of the input's shape."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per request.")] = 1,
    signature: Annotated[
        str, typer.Option(help="Of the model; else serving_bytes for a picture, serving_default for values.")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a request may take.")] = DEFAULT_TIMEOUT,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw latencies: .svg or .png.")] = None,
) -> None:
    """Measure how many requests a server answers, and how soon. Exit code 1 if any request failed, or none was sent.

    The same request is sent again and again over one connection. It is encoded once, and answers are not decoded: measured are
    the network, the server and gRPC, from the call until the answer is here; with --rate, from when the request was due. One
    process sends some thousands of requests per second; the result says if that was its limit.

    Example: cnn-tf bench-client localhost:8500 --model fashion_mnist --rate 200 --seconds 30 --plot latency.svg
    """
    if callers and rate:
        raise WrongUse("Pass --callers for a closed loop or --rate for an open one. Received: both.")
    pictures.require_address(server)
    _require_writable(json_file, plot)
    with PredictClient(server, model) as client:
        request = requests.encoded(client, picture, signature, batch_size)
    wanted = Load(None if rate else callers or DEFAULT_CALLERS, rate, seconds, warm_up)
    asked = report.Asked(server, model, batch_size, len(request), wanted)
    with Console(stderr=True).status(f"Asking for {warm_up + seconds:g} s"):
        measured = asyncio.run(_measure(server, request, timeout, wanted))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(str(asked), soft_wrap=True)
    console.print(report.table(measured))
    for note in report.notes(measured):
        console.print(note, soft_wrap=True)
    if json_file:
        _write(json_file, json.dumps(report.document(asked, measured), indent=2) + "\n")
    if plot and measured.latencies:
        from serving.client.bench import figure

        figure.save(plot, asked, measured)
    if measured.failures or not measured.latencies:
        raise typer.Exit(1)


async def _measure(server: str, request: bytes, timeout: float, wanted: Load) -> Measured:
    async with DEFAULT_CONNECTION.aio_channel(server) as channel:
        predict = channel.unary_unary(wire.PREDICT)
        return await load.measure(lambda: predict(request, timeout=timeout), wanted)


def _write(path: Path, text: str) -> None:
    """The whole file, or none. Raises OSError."""
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_text(text)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _require_writable(json_file: Path | None, plot: Path | None) -> None:
    """Raises WrongUse for what would fail after the load."""
    for path in (json_file, plot):
        if path and not path.absolute().parent.is_dir():
            raise WrongUse(f"No such folder: {path.parent}. Make it first.")
    if plot and plot.suffix.lower() not in FIGURES:
        raise WrongUse(f"--plot writes files that end in {' or '.join(FIGURES)}. Received: {plot}.")
    if plot and importlib.util.find_spec("matplotlib") is None:
        raise WrongUse("--plot needs matplotlib: pip install matplotlib.")
