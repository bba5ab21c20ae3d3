"""Whether a server can make a column's text of a table's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

_MISTAKES = "42"
"""The class of SQLSTATEs for names, types and rights that are wrong whatever the rows hold."""

Connection = psycopg.Connection[tuple[Any, ...]]


def text_trouble(connection: Connection, schema: str, table: str, text: str, path: Sequence[str]) -> str:
    """Why no row could have this text, such as a function that is not there; empty where rows may have it.

    Names are looked up in the schemas of `path`, as a worker and a trigger do.
    """
    query = sql.SQL("SELECT ({}\n)::text FROM {} LIMIT 0").format(
        sql.SQL(text), sql.Identifier(schema, table)
    )
    try:
        with connection.transaction():
            names = sql.SQL(", ").join(map(sql.Identifier, path))
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(names))
            connection.execute(query)
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_MISTAKES):
            return ""  # for a row, or for the moment
        return error.diag.message_primary or str(error)
    return ""
