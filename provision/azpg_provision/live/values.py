"""Values that a statement asks about, many at once: what it costs is mostly its planning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

_COMMA = sql.SQL(", ")


def listed(rows: Iterable[Sequence[Any]]) -> sql.Composed:
    """Rows of VALUES, such as ``(1, 'a'), (2, 'b')``; lists in them are to be cast where they are used."""
    return _COMMA.join(sql.SQL("({})").format(_COMMA.join(map(sql.Literal, row))) for row in rows)
