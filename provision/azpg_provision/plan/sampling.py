"""How fast rows are embedded one by one, by a sample of a table that has no vectorized column yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg
from psycopg import sql

from azpg_provision.errors import ExtensionMismatch
from azpg_provision.live.immutable import prepare_if_fit
from azpg_provision.live.local_ai import require
from azpg_provision.live.owner import OwnersView, as_owner
from azpg_provision.live.text import names
from azpg_provision.spec.literals import template
from azpg_provision.sync.session import safe
from azpg_provision.target.target import Connection

_FEW = 16
"""Rows of a sample for which somebody waits."""
_LONGEST = "20s"
_STEADY = """
SELECT pg_catalog.bool_and({safe})
FROM pg_catalog.pg_class AS class, pg_catalog.pg_namespace AS schema
WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
  AND schema.nspname OPERATOR(pg_catalog.=) ANY ({path}::pg_catalog.name[])
"""
_SAMPLE = """
azpg_sample (pg_catalog.int8) AS SELECT pg_catalog.count(sample.embedding) FROM (
    SELECT azure_local_ai.create_embeddings({model}, {prefix} OPERATOR(pg_catalog.||) ({text}
    )::pg_catalog.text) AS embedding
    FROM ONLY {relation} LIMIT $1
) AS sample
"""


def rows_per_second(
    connection: Connection,
    *,
    relation: tuple[str, str],
    text: str,
    prefix: str,
    model: str,
    path: Sequence[str],
) -> float | None:
    """Rows a second where each is embedded by itself, as a generated column does, by a sample of them.

    Args:
        connection: to the database of the table, in autocommit; nothing is written.
        relation: schema and table, which is read as its owner.
        text: an expression over its columns.
        prefix: what stands before it.
        model: its URI.
        path: the schemas in which names in the text are found.

    None where there is no row, or the sample fails, such as without azure_local_ai or for a model that is not
    registered, or takes longer than anybody would wait; where others may put names in one of the schemas,
    which PostgreSQL may look up once more before it runs what was found fit; and where the text calls what is
    not PostgreSQL's own or an extension's, or is not IMMUTABLE: nothing of that is run for a look
    (`azpg_provision.live.immutable`). Its string literals are parameters, which nothing reads before their
    types are found fit.

    Raises `PlanRefused` as `azpg_provision.live.owner`.
    """
    literals = template(text)
    if literals is None:
        return None
    statement = sql.SQL(_SAMPLE).format(
        model=sql.Literal(model),
        prefix=sql.Literal(prefix),
        text=sql.SQL(literals.filled([f"${number}" for number in range(2, len(literals.values) + 2)])),
        relation=sql.Identifier(*relation),
    )
    settings = {
        "search_path": names(path).as_string(connection),
        "statement_timeout": _LONGEST,
        "standard_conforming_strings": "on",
    }
    try:
        if not _is_steady(connection, relation, path):
            return None
        with as_owner(connection, *relation, settings) as owner:
            require(connection)
            if not prepare_if_fit(connection, "azpg_sample", statement):
                return None
            return _rate(owner, literals.values)
    except (psycopg.Error, ExtensionMismatch):
        return None
    finally:
        with suppress(psycopg.Error):  # it is not there, or not any more
            connection.execute("DEALLOCATE azpg_sample")


def _is_steady(connection: Connection, relation: tuple[str, str], path: Sequence[str]) -> bool:
    query = sql.SQL(_STEADY).format(
        path=sql.Literal(list(path)),
        relation=sql.Literal(sql.Identifier(*relation).as_string(connection)),
        safe=safe(sql.SQL("class.relowner")),
    )
    return connection.execute(query).fetchone() == (True,)


def _rate(owner: OwnersView, literals: Sequence[str]) -> float | None:
    done, took = 0, 0.0
    for rows in (1, _FEW):  # the first call may have to load the model
        began = time.perf_counter()
        values = sql.SQL(", ").join(map(sql.Literal, [rows, *literals]))
        ((done,),) = owner.rows(sql.SQL("EXECUTE azpg_sample ({})").format(values), "rows int8")
        took = time.perf_counter() - began
    return done / took if done else None
