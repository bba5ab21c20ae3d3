"""Names of PostgreSQL's things, as a person reads them."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
LONGEST = 63
"""Bytes of UTF-8; PostgreSQL would cut a longer name without a word."""


def complaint(name: str) -> str:
    """Why PostgreSQL takes no such name, with what it takes; empty for one that it takes."""
    if not name:
        return "is empty: use 1 to 63 bytes"
    if "\0" in name:
        return "holds a NUL character, which PostgreSQL does not take: leave it out"
    if len(name.encode()) > LONGEST:
        return f"has {len(name.encode())} bytes of UTF-8: use {LONGEST} at most"
    return ""


def quoted(name: str) -> str:
    """`name`, in double quotes where it needs them."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def qualified(*names: str) -> str:
    """Names joined by dots, such as ``public.products.embedding``; no two lists of names give the same.

    For people and as a key; a statement is composed with `psycopg.sql`.
    """
    return ".".join(map(quoted, names))
