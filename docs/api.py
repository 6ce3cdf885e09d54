"""Renders the docstrings of what is public as HTML pages; fails on whatever pdoc would warn of.

python -m docs.api build/api [serving.client ...]
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pdoc
from pdoc import extract

import cnn_tf
from cnn_tf.quiet import import_tensorflow

# In pdoc's language: a package is what its `__all__` names, or all below it; ! and a pattern leave out what was named before.
PUBLIC = (
    "cnn_tf",
    *(f"cnn_tf.{module.name}" for module in pkgutil.iter_modules(cnn_tf.__path__) if module.name != "__main__"),
    "pipelines",
    "serving.client",
    "serving.errors",
    *("serving.server", r"!serving\.server\.", "serving.server.flags", "serving.server.process"),
)

# "name: what it is", as our docstrings tell of arguments.
_ARGUMENT = re.compile(r"^(?=\w+(, \w+)*: )", re.MULTILINE)


def render(folder: Path, specs: Sequence[str] = PUBLIC) -> None:
    """Writes index.html and a page a module. Raises UserWarning, with pdoc's words."""
    for name in extract.walk_specs(specs):
        _import(name)
    pdoc.render.configure(docformat="markdown", show_source=False)
    to_html = pdoc.render.env.filters["to_html"]
    pdoc.render.env.filters["to_html"] = lambda docstring: to_html(_ARGUMENT.sub("- ", docstring))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # An annotation is shown as it stands there if pdoc cannot evaluate it, as those of named tuples; mypy knows the names.
        warnings.filterwarnings("ignore", "Error parsing type annotation", UserWarning)
        pdoc.pdoc(*specs, output_directory=folder)


def _import(name: str) -> None:
    """With the names of `__all__` that the module itself imports when they are used."""
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        setattr(module, public, getattr(module, public))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m docs.api", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("specs", nargs="*", default=PUBLIC, metavar="MODULE")
    arguments = parser.parse_args()
    import_tensorflow()
    render(arguments.folder, arguments.specs)
    print(arguments.folder / "index.html")


if __name__ == "__main__":
    main()
