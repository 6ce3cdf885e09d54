"""How it looks: what is served, and how it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from serving.server.live.snapshot import Addresses, Model, Snapshot, Version
from serving.server.metrics.recent import Rates

_STYLES = {"AVAILABLE": "green", "START": "yellow", "LOADING": "yellow", "UNLOADING": "yellow", "END": "red"}
_WIDE = 72


def served(models: Sequence[Model], addresses: Addresses) -> RenderableType:
    """What is served where, and what each signature takes."""
    where = _grid(_where(models, addresses))
    return Padding(Group(where, *(part for model in models for part in _model(model))), (1, 0, 1, 2))


def _where(models: Sequence[Model], addresses: Addresses) -> Iterator[tuple[Text, Text]]:
    name = models[0].name if len(models) == 1 else "MODEL"
    yield Text("gRPC", style="dim"), Text(addresses.grpc or "off")
    url = f"{addresses.rest}/v1/models/{name}:predict" if addresses.rest else "off"
    yield Text("REST", style="dim"), Text(url, overflow="fold")


def _model(model: Model) -> Iterator[RenderableType]:
    yield Text()
    if not any(version.signatures for version in model.versions):
        yield Text.assemble((model.name, "bold"), "  version ", _versions(model.versions))
    for version in model.versions:
        if version.signatures:
            yield Text.assemble((model.name, "bold"), "  version ", _version(version), "  ", (version.summary, "dim"))
            rows = version.signatures.items()
            yield Padding(
                _grid((Text(signature, style="dim"), Text(inputs)) for signature, inputs in rows), (0, 0, 0, 2)
            )


def _grid(rows: Iterable[tuple[Text, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*row)
    return grid


def state(snapshot: Snapshot, seconds: float, width: int, height: int) -> RenderableType:
    """How a server does that has run for `seconds`, on a terminal of this size."""
    wide = width >= _WIDE
    table = _table(width, wide)
    room = max(height // 2 - 2, 1)  # the other half is for the log
    models = snapshot.models
    if len(models) > room:  # the busiest ones
        models = sorted(models, key=lambda model: -model.rates.requests_per_second)[: room - 1]
    for model in models:
        numbers = _numbers(model.rates, model.queue, wide)
        table.add_row(Text(model.name, style="bold"), _versions(model.versions), *numbers)
    if len(snapshot.models) > 1:
        hidden = len(snapshot.models) - len(models)
        name = Text(f"all, {hidden} more" if hidden else "all", style="dim")
        table.add_row(name, "", *_numbers(snapshot.total, sum(model.queue for model in snapshot.models), wide))
    return Group(Rule(style="dim"), Padding(table, (0, 0, 0, 2)), _summary(snapshot, seconds, width))


def _table(width: int, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    room = (width - (48 if wide else 22)) // 2
    for name in ("Model", "Version"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=8, max_width=max(room, 8))
    for name in ("Req/s", "p50", "p99", "Queue", "Errors/s") if wide else ("Req/s", "p99"):
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    return table


def _numbers(rates: Rates, queue: int, wide: bool) -> Sequence[Text]:
    rate, p50, p99 = _rate(rates.requests_per_second), _duration(rates.p50), _duration(rates.p99)
    if not wide:
        return rate, p99
    errors = _rate(rates.errors_per_second, "red")
    return rate, p50, p99, Text(f"{queue:,}") if queue else _nothing(), errors


def _summary(snapshot: Snapshot, seconds: float, width: int) -> Text:
    """The line at the bottom, of as many parts as it has room for."""
    total = snapshot.total
    parts = [
        f"{total.requests:,} {'request' if total.requests == 1 else 'requests'}",
        f"{total.errors:,} failed",
        f"up {_uptime(seconds)}",
        _memory(snapshot.resident_bytes),
        "Ctrl-C stops",
    ]
    while len(line := "  " + " · ".join(parts)) > width and parts:
        parts.pop()
    return Text(line, style="dim")


def _versions(versions: Sequence[Version]) -> Text:
    """Those that matter: a version that has ended in peace is history."""
    matter = [version for version in versions if version.state != "END" or version.failed]
    return Text(", ").join(map(_version, matter)) if matter else Text("none", style="red")


def _version(version: Version) -> Text:
    """Its number, and its state unless it is the one to hope for."""
    word = "failed" if version.failed else version.state.lower()
    text = str(version.number) if version.state == "AVAILABLE" else f"{version.number} {word}"
    return Text(text, style=_STYLES.get(version.state, ""))


def _nothing() -> Text:
    return Text("-", style="dim")


def _rate(per_second: float, style: str = "") -> Text:
    if not per_second:
        return _nothing()
    return Text(f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}", style=style)


def _duration(seconds: float) -> Text:
    if not seconds:
        return _nothing()
    if seconds >= 1:
        return Text(f"{seconds:.1f} s")
    return Text(f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms")


def _memory(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _uptime(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{int(seconds)} s"
