"""Draws the pictures of docs/lecture-note.md into docs/pictures/: all of them, or those named."""

from __future__ import annotations

import argparse
import time

from cnn_tf.quiet import import_tensorflow

import_tensorflow()

from docs.drawings import catalogue  # noqa: E402 - TensorFlow's notes must be caught first


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m docs.drawings", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of " + ", ".join(catalogue.NAMES))
    parser.add_argument("--keep-measured", action="store_true", help="train nothing; draw what was measured last time")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(catalogue.NAMES))
    if unknown:
        parser.error(f"there is no drawing {', '.join(unknown)}; there are {', '.join(catalogue.NAMES)}")
    names = arguments.names or list(catalogue.NAMES)
    catalogue.PICTURES.mkdir(exist_ok=True)
    for number, name in enumerate(names, start=1):
        begin = time.monotonic()
        if not arguments.keep_measured:
            catalogue.measure(name)
        path = catalogue.draw(name)
        print(f"[{number}/{len(names)}] {path.name}, {time.monotonic() - begin:.1f} s", flush=True)
    catalogue.PAGE.write_text(catalogue.with_tables(catalogue.PAGE.read_text()))


if __name__ == "__main__":
    main()
