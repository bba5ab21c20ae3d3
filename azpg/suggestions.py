"""Names like one that there is not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """``Did you mean 'this' or 'that'?``, or '' where nothing known is like `name`."""
    near = get_close_matches(name, known, n=most)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
