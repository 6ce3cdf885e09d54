"""How commands speak to people: results on standard output, all else on standard error, one line for an error."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from rich.console import Console

# Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted, by SIGTERM too, 141 broken pipe (128 + the signal).
FAILED, INTERRUPTED, BROKEN_PIPE = 1, 130, 141

# Plain: names of files and classes may look like markup.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def note(text: str) -> None:
    """A line about what is going on."""
    err.print(text, soft_wrap=True)


def reporting_errors(command: Callable[Parameters, Result], *, debug: bool = False) -> Callable[Parameters, Result]:
    """The same command, whose exceptions become one line and an exit code. SIGTERM ends it as Ctrl-C does.

    An exception says by its attribute `exit_code` that it is foreseen; any other is a fault of ours.

    debug: lets them pass with their traceback instead.
    """

    @functools.wraps(command)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            with _sigterm_as_ctrl_c():
                return command(*args, **kwargs)
        except KeyboardInterrupt:
            note("Interrupted. Nothing is half-written; the same command goes on from what is there.")
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # whoever reads the output has enough of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(BROKEN_PIPE)
        except Exception as error:
            if debug or type(error).__module__.startswith("typer"):  # Typer's own way to exit
                raise
            _report(error)
            sys.exit(getattr(error, "exit_code", FAILED))

    return wrapper


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Both raise KeyboardInterrupt: what lies aside is removed, and what was begun with others is ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(error: Exception) -> None:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename:
        text = f"{error.strerror}: {error.filename}. Check the path, its permissions and the space left."
    elif isinstance(error, OSError):
        text = f"{error.strerror or text}. Check the paths, their permissions and the space left."
    elif not hasattr(error, "exit_code"):
        text = f"{type(error).__name__}: {text} (unexpected: the same command with --debug tells where)"
    err.print("Error: ", end="", style="bold red")
    note(text)
