"""The tables of one column in the ledger: `azpg.state_N` and `azpg.queue_N`."""

from __future__ import annotations

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger.access import close
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
    vector bytea,
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

_CARRIED = """
SELECT pg_catalog.count(*) FILTER (
           WHERE relation.relkind OPERATOR(pg_catalog.=) 'r'
             AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(relation.relacl) AS acl
                             WHERE acl.grantee OPERATOR(pg_catalog.<>) relation.relowner)),
       pg_catalog.count(attribute.attname)
FROM pg_catalog.pg_class AS relation
LEFT JOIN pg_catalog.pg_attribute AS attribute
       ON attribute.attrelid OPERATOR(pg_catalog.=) relation.oid
      AND attribute.attname OPERATOR(pg_catalog.=) 'vector' AND NOT attribute.attisdropped
WHERE relation.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND relation.relname OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[])
"""
_FUNCTIONS = """
SELECT pg_catalog.concat('azpg.', pg_catalog.quote_ident(proname),
                         '(', pg_catalog.pg_get_function_identity_arguments(oid), ')')
FROM pg_catalog.pg_proc
WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND proname OPERATOR(pg_catalog.~) %s ORDER BY 1
"""
FUNCTIONS = ("embed", "note", "enqueue", "clear", "text", "act")
"""What a column's functions are called, before its number."""


def made_for(column_id: int) -> list[str]:
    """Name all that a column has in schema azpg: functions and relations."""
    relations = [f"state_{column_id}", f"queue_{column_id}", f"queue_{column_id}_id_seq"]
    return [*(f"{name}_{column_id}" for name in FUNCTIONS), *relations]


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
        close(connection, "TABLE", table)
    close(connection, "TABLE", sql.Identifier("azpg", f"queue_{column.id}_id_seq"))


def carry(connection: Connection, column: VectorColumn) -> None:
    """Brings both to the present version of the ledger, with all that they hold; makes what is gone."""
    names = [f"azpg.state_{column.id}", f"azpg.queue_{column.id}"]
    query = (
        "SELECT pg_catalog.count(*) FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS wanted (name) "
        "WHERE pg_catalog.to_regclass(wanted.name) IS NULL"
    )
    if connection.execute(query, [names]).fetchone() != (0,):
        drop(connection, column.id)
        make(connection, column)
    connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS vector bytea").format(column.state))
    for table in (column.state, column.queue, sql.Identifier("azpg", f"queue_{column.id}_id_seq")):
        close(connection, "TABLE", table)


def carried(connection: Connection, column: VectorColumn) -> bool:
    """Whether both are as `make` makes them now, and nobody else's to use."""
    names = [f"state_{column.id}", f"queue_{column.id}"]
    row = connection.execute(_CARRIED, [names]).fetchone()
    return row == (2, 1)


def drop(connection: Connection, column_id: int) -> None:
    """Drops both of the column with this id."""
    for name in (f"state_{column_id}", f"queue_{column_id}"):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier("azpg", name)))


def disarm(connection: Connection, column_id: int) -> None:
    """Drops the functions of the column with this id, and their triggers with them."""
    pattern = f"^({'|'.join(FUNCTIONS)})_{column_id}$"
    for (function,) in connection.execute(_FUNCTIONS, [pattern]).fetchall():
        connection.execute(sql.SQL("DROP FUNCTION {} CASCADE").format(sql.SQL(function)))
