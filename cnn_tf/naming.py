"""What to say of a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that lists the known names, and the nearest one if there is one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"Unknown {kind} {name!r}. Expected one of: {', '.join(known)}." + (
        f" Did you mean {near[0]!r}?" if near else ""
    )
