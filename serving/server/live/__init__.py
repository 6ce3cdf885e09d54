"""What a terminal shows of a running server: a table of what is served where, and below it, always up to date, how it does.

Elsewhere there is a log line for each signature, and nothing more.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from serving.server.live.snapshot import Addresses, Model, Snapshot, Version, describe_inputs
from serving.server.live.tables import served, state

__all__ = ["Addresses", "Model", "Snapshot", "Version", "busy", "describe_inputs", "shown"]

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0


@contextlib.contextmanager
def busy(what: str, console: Console | None = None) -> Iterator[None]:
    """Says on a terminal what takes so long, for the time of the block; nothing elsewhere."""
    with Live(Spinner("dots", what), console=console, transient=True, redirect_stderr=sys.stderr.isatty()):
        yield


@contextlib.contextmanager
def shown(snapshot: Callable[[], Snapshot], addresses: Addresses, console: Console | None = None) -> Iterator[None]:
    """Shows the server for the time of the block; afterwards the terminal is as it was, with the last state left on it.

    snapshot: called once a second, in a thread of its own.
    """
    console = console or Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal or console.is_dumb_terminal:
        _log_models(snapshot().models)
        yield
        return
    console.print(served(snapshot().models, addresses))
    # What is printed or logged meanwhile goes above the view, unless it goes elsewhere anyway.
    view = Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())
    stopping = threading.Event()
    thread = threading.Thread(target=_refresh, args=(view, snapshot, stopping), name="live", daemon=True)
    with view:
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def _refresh(view: Live, snapshot: Callable[[], Snapshot], stopping: threading.Event) -> None:
    begin = time.monotonic()
    while not stopping.is_set():
        try:
            view.update(state(snapshot(), time.monotonic() - begin, *view.console.size), refresh=True)
        except Exception:
            _log.exception("The live view is off after an error; the server goes on")
            return
        stopping.wait(REFRESH_SECONDS)


def _log_models(models: Iterable[Model]) -> None:
    for model in models:
        for version in model.versions:
            for signature, inputs in version.signatures.items():
                fields = {
                    "version": version.number,
                    "signature": signature,
                    "inputs": inputs,
                    "engine": version.summary,
                }
                _log.info("Serving %s", model.name, extra={"fields": fields})
