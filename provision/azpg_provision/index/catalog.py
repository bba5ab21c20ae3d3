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
        SELECT class.relname, method.amname, opclass.opcname,
               coalesce(class.reloptions, CAST('{}' AS pg_catalog.text[]))
        FROM pg_catalog.pg_index AS index
        JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) index.indexrelid
        JOIN pg_catalog.pg_am AS method ON method.oid OPERATOR(pg_catalog.=) class.relam
        JOIN pg_catalog.pg_opclass AS opclass ON opclass.oid OPERATOR(pg_catalog.=) index.indclass[0]
        JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) index.indrelid
             AND attribute.attnum OPERATOR(pg_catalog.=) index.indkey[0]
        WHERE index.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
              AND index.indnatts OPERATOR(pg_catalog.=) 1 AND index.indisvalid
              AND index.indpred IS NULL AND attribute.attname OPERATOR(pg_catalog.=) %s
              AND method.amname OPERATOR(pg_catalog.=) ANY (CAST(%s AS pg_catalog.text[]))
              AND opclass.opcname OPERATOR(pg_catalog.=) ANY (CAST(%s AS pg_catalog.text[]))
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
