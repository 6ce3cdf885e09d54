"""Pages for people: one HTML file with everything inside, light and dark, on screens and on paper."""

from __future__ import annotations

import base64
from typing import Any

import jinja2
from markupsafe import Markup, escape

from pipelines.reports import figures

# Not printable to Python, and yet part of texts: the no-break space, and what joins letters and emoji.
JOINERS = frozenset("\N{NO-BREAK SPACE}\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")


def render(template: str, **context: Any) -> str:
    """The page that a template of this package makes of `context`. All text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: plain(value) if type(value) is str else value,  # a Markup is a template's own text
    )
    environment.filters["percent"] = figures.percent
    environment.filters["finite"] = figures.finite
    environment.filters["data_uri"] = data_uri
    environment.filters["width"] = figures.width
    environment.filters["shorten"] = shorten
    environment.filters["breakable"] = breakable
    environment.filters["bytes"] = readable_bytes
    return environment.get_template(template).render(light=figures.LIGHT, dark=figures.DARK, **context)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A picture as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shorten(text: str, length: int) -> str:
    """At most `length` letters: the middle is left out, since both ends of a path tell more."""
    text = plain(text)
    end = 2 * length // 3
    return text if len(text) <= length else f"{text[: length - end - 1]}…{text[-end:]}"


def breakable(path: str) -> Markup:
    """The path, which a browser may wrap behind each "/"."""
    return Markup("/<wbr>").join(escape(plain(part)) for part in path.split("/"))


def readable_bytes(count: int) -> str:
    """1234567 -> "1.2 MB"."""
    power = max(0, min(4, (len(str(count)) - 1) // 3))
    if not power:
        return f"{count}\N{NO-BREAK SPACE}bytes"
    return f"{count / 1000**power:,.1f}\N{NO-BREAK SPACE}{('kB', 'MB', 'GB', 'TB')[power - 1]}"


def plain(text: str) -> str:
    r"""Text that shows what is in it: a line break in a file's name becomes \n, a byte that is no UTF-8 \udcff."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in JOINERS else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
