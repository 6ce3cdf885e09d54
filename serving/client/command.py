"""`cnn-tf predict`: classifies picture files with a server."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from serving.client import pictures, saving
from serving.client.core import DEFAULT_TIMEOUT
from serving.client.pictures import Answer
from serving.client.predict import PredictClient
from serving.client.progress import shown

Connect = Callable[[], PredictClient]


def predict(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Picture files, folders, or quoted patterns.")],
    server: Annotated[str, typer.Option(help="The server's gRPC address.")] = "localhost:8500",
    model: Annotated[str, typer.Option(help="Name of the model on the server.")] = "fashion_mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON list instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV instead of a table.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to a .csv, .jsonl or .parquet file; go on if it is begun."),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where failures go, .csv or .jsonl. Default: OUTPUT.failures.csv."),
    ] = None,
    send_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Scale larger pictures down to N pixels on the shorter side first."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per request.")] = 32,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 4,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that a request may take.")] = DEFAULT_TIMEOUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many pictures would be sent.")] = False,
) -> None:
    """Classify pictures with a running server. Exit code 1 if any file could not be classified.

    With --output, answers are written as they come, in the order of the disk, and the same command goes on where it was
    stopped, by Ctrl-C or SIGTERM: each file is in the output once, or in the failures. Delete those to try them again.

    Example: cnn-tf predict --server localhost:8500 photos/ boot.png 'more/*.jpg' --csv

    Example: cnn-tf predict photos/ --output answers.parquet --send-size 224
    """
    _require_one_way(as_json, as_csv, output, failures)
    pictures.require_address(server)
    asking = {"batch_size": batch_size, "in_flight": in_flight, **_reading(send_size)}
    connect = partial(PredictClient, server, model, timeout=timeout)
    if output:
        failed = _save(paths, connect, output, failures or Path(f"{output}.failures.csv"), asking, dry_run)
    else:
        failed = _show(
            paths, connect, _write_json if as_json else _write_csv if as_csv else _write_table, asking, dry_run
        )
    if failed:
        raise typer.Exit(1)


def _require_one_way(as_json: bool, as_csv: bool, output: Path | None, failures: Path | None) -> None:
    if as_json + as_csv + (output is not None) > 1:
        raise pictures.WrongUse("Pass one of --json, --csv and --output. Received: more.")
    if failures and not output:
        raise pictures.WrongUse("--failures goes with --output. Received: --failures alone.")
    if output and failures and failures.resolve() == output.resolve():
        raise pictures.WrongUse(f"--failures and --output are two files. Received: {str(output)!r} for both.")


def _reading(send_size: int | None) -> dict[str, Any]:
    if send_size is None:
        return {}
    from serving.client.scaling import reader

    return {"read": reader(send_size)}


def _show(
    paths: list[str], connect: Connect, write: Callable[[list[Answer]], None], asking: dict[str, Any], dry_run: bool
) -> bool:
    """On standard output, all at the end. Returns whether any failed."""
    files = pictures.find_sorted(paths)
    if dry_run:
        _tell(len(files))
        return False
    console = _console(stderr=True)
    with connect() as client:
        answers = pictures.classify(client, files, pictures.find_signature(client), **asking)
        results = list(shown(answers, console, lambda: len(files)))
    write(results)
    failed = [answer for answer in results if answer.error]
    for answer in failed:
        console.print(_printable(f"{answer.name}: {answer.error}"), style="red", soft_wrap=True)
    return bool(failed)


def _save(
    paths: list[str], connect: Connect, output: Path, failures: Path, asking: dict[str, Any], dry_run: bool
) -> bool:
    """In files, as they come. Returns whether any failed, now or before."""
    pictures.require_pictures(paths)
    with saving.output(output) as answered, saving.failures(failures) as refused, connect() as client:
        signature = "" if dry_run else pictures.find_signature(client)
        if not dry_run:
            answered.open()
        job = saving.Job(paths, client.model, answered, refused)
        before = job.classified + job.failed

        def count() -> int:
            return sum(1 for _ in job.todo())

        if dry_run:
            _tell(count(), before)
            return False
        console, begin = _console(stderr=True), time.monotonic()
        for answer in shown(pictures.classify(client, job.todo(), signature, **asking), console, count):
            job.keep(answer)
        answered.finish()
        now, seconds = job.classified + job.failed - before, time.monotonic() - begin
        told = f", {job.failed:,} failed: {failures}" if job.failed else ""
        rate = f" ({now:,} now, {now / seconds:,.0f} a second)" if now else " (all done before)"
        console.print(_printable(f"{_pictures(job.classified)} in {output}{told}{rate}."), soft_wrap=True)
    return bool(job.failed)


def _tell(count: int, done: int = 0) -> None:
    typer.echo(f"{_pictures(count)} would be sent" + (f", {done:,} are done." if done else "."))


def _pictures(count: int) -> str:
    return f"{count:,} picture{'' if count == 1 else 's'}"


def _console(**options: Any) -> Console:
    """Plain: names of files and classes may look like markup."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def _write_table(answers: Iterable[Answer]) -> None:
    table = Table(Column("file", overflow="fold"), "class", Column("probability", justify="right"), "next best")
    for answer in answers:
        if answer.top:
            (label, probability), *others = answer.top
            rest = ", ".join(f"{name} {share:.1%}" for name, share in others[:2])
            table.add_row(_printable(answer.name), _printable(label), f"{probability:.1%}", _printable(rest))
    if table.row_count:
        # In a file or pipe there is no width to fit into.
        _console(width=None if sys.stdout.isatty() else 200).print(table)


def _printable(text: str) -> str:
    """Without control characters, which a file's name may hold and a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _write_json(answers: Iterable[Answer]) -> None:
    rows = [{"file": each.name, "error": each.error} if each.error else each.row() for each in answers]
    json.dump(rows, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _write_csv(answers: Iterable[Answer]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "probability", "error"])
    for answer in answers:
        best = answer.top[0] if answer.top else ("", "")
        writer.writerow([answer.name, *best, answer.error or ""])
