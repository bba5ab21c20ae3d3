"""The approximate indexes that a vectorized column has."""

from __future__ import annotations

from typing import Any

import psycopg

from azpg_provision.column import VectorColumn
from azpg_provision.index.definition import OPERATORS, Method, VectorIndex

Connection = psycopg.Connection[tuple[Any, ...]]


def indexes(connection: Connection, column: VectorColumn) -> dict[str, VectorIndex]:
    """The valid ones, by name."""
    rows = connection.execute(
        """
        SELECT class.relname, method.amname, opclass.opcname, coalesce(class.reloptions, '{}')
        FROM pg_index AS index
        JOIN pg_class AS class ON class.oid = index.indexrelid
        JOIN pg_am AS method ON method.oid = class.relam
        JOIN pg_opclass AS opclass ON opclass.oid = index.indclass[0]
        JOIN pg_attribute AS attribute ON attribute.attrelid = index.indrelid
             AND attribute.attnum = index.indkey[0]
        WHERE index.indrelid = to_regclass(%s) AND index.indnatts = 1 AND index.indisvalid
              AND index.indpred IS NULL AND attribute.attname = %s
              AND method.amname = ANY (%s) AND opclass.opcname = ANY (%s)
        ORDER BY class.relname
        """,
        [column.relation.as_string(), column.column, [method.value for method in Method], list(OPERATORS)],
    ).fetchall()
    return {
        name: VectorIndex(Method(method), opclass, dict(_option(option) for option in options))
        for name, method, opclass, options in rows
    }


def _option(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    return name, int(value)
