"""The tables of one column in the ledger: `azpg.state_N` and `azpg.queue_N`."""

from __future__ import annotations

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.target.target import Connection

# A key's collation must be the table's own: PostgreSQL compares no two texts of different collations.
_KEYS = """
SELECT attribute.attname, pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
       schema.nspname, collation_.collname
FROM pg_catalog.pg_attribute AS attribute
JOIN pg_catalog.pg_type AS type ON type.oid = attribute.atttypid
LEFT JOIN pg_catalog.pg_collation AS collation_
       ON collation_.oid = attribute.attcollation AND attribute.attcollation <> type.typcollation
LEFT JOIN pg_catalog.pg_namespace AS schema ON schema.oid = collation_.collnamespace
WHERE attribute.attrelid = %s::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
"""
_STATE = """
CREATE TABLE {table} (
    {keys},
    hash bytea NOT NULL,
    failure text,
    sqlstate text,
    attempts integer NOT NULL DEFAULT 1,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ({names})
)
"""
_QUEUE = """
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {keys},
    since timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now()
)
"""

_FUNCTIONS = """
SELECT proname FROM pg_catalog.pg_proc
WHERE pronamespace = pg_catalog.to_regnamespace('azpg') AND pronargs = 0 AND proname ~ %s ORDER BY proname
"""


def make(connection: Connection, column: VectorColumn) -> None:
    """Makes both, empty. Raises `LedgerMismatch` if a key column is gone from the table."""
    relation = column.relation.as_string(connection)
    found = {row[0]: row[1:] for row in connection.execute(_KEYS, [relation]).fetchall()}
    definitions = []
    for own, key in zip(column.own_keys, column.keys, strict=True):
        if key.name not in found:
            raise LedgerMismatch(
                f"{relation} has no column {key.name!r}, which is of its key: run `azpg plan` again."
            )
        type_, schema, collation = found[key.name]
        # format_type quotes what has to be quoted.
        definition = sql.SQL("{} {}").format(own, sql.SQL(type_))
        if collation is not None:
            definition += sql.SQL(" COLLATE {}").format(sql.Identifier(schema, collation))
        definitions.append(definition)
    keys, names = sql.SQL(", ").join(definitions), sql.SQL(", ").join(column.own_keys)
    for statement, table in ((_STATE, column.state), (_QUEUE, column.queue)):
        connection.execute(sql.SQL(statement).format(table=table, keys=keys, names=names))


def drop(connection: Connection, column_id: int) -> None:
    """Drops both of the column with this id."""
    for name in (f"state_{column_id}", f"queue_{column_id}"):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("azpg", name)))


def disarm(connection: Connection, column_id: int) -> None:
    """Drops the trigger functions of the column with this id, and the triggers with them."""
    for (function,) in connection.execute(
        _FUNCTIONS, [f"^(embed|note|enqueue|clear)_{column_id}$"]
    ).fetchall():
        connection.execute(sql.SQL("DROP FUNCTION {}() CASCADE").format(sql.Identifier("azpg", function)))
