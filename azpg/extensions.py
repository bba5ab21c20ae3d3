"""Lists of extension names, as `azure.extensions` holds them."""

from __future__ import annotations

from collections.abc import Iterable


def normalise(value: str) -> list[str]:
    """The names in a comma-separated list: lower case, without spaces, each once, in the order given.

    Azure accepts any case, spaces around commas and empty elements; so does this.
    """
    names = (part.strip().lower() for part in value.split(","))
    return list(dict.fromkeys(name for name in names if name))


def join(names: Iterable[str]) -> str:
    """Names as one comma-separated value, the way Azure echoes it."""
    return ",".join(names)
