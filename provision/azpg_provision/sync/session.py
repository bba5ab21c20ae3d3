"""How statements about a column run, in a worker's session as in a trigger: with the same names in sight."""

from __future__ import annotations

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.target.target import Connection

WORKER = "azpg_provision.worker"
"""The setting by which the triggers know a worker, whose writes they leave alone."""

LOCK_TIMEOUT = "250ms"
"""A worker waits for no row. For what else it waits, such as a row that a trigger of the user's own writes,
it gives up long before PostgreSQL looks for deadlocks (1 s), so that no writer is chosen to end one."""

# What a key looks like as text must be the same in every session, whatever a role or database sets.
_PREPARE = """
SELECT pg_catalog.set_config(name, value, false)
FROM (VALUES
    ('search_path', 'pg_catalog, ' || pg_catalog.quote_ident(%(schema)s) || ', public, pg_temp'),
    ('datestyle', 'ISO, YMD'),
    ('intervalstyle', 'postgres'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex'),
    ('lock_timeout', %(lock_timeout)s),
    ('jit', 'off'),
    ('default_transaction_isolation', 'read committed'),
    ('row_security', 'off'), -- rows that a policy hides are an error, not silently left out
    (%(worker)s, 'on')
) AS settings (name, value)
"""


def search_path(column: VectorColumn) -> sql.Composed:
    """The schemas in which the names of a column's text are looked up: PostgreSQL's, the table's, public."""
    names = ["pg_catalog", column.schema, "public", "pg_temp"]
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def prepare(connection: Connection, column: VectorColumn) -> None:
    """Makes a session one of a worker for `column`; for another one, again. In autocommit."""
    connection.execute(_PREPARE, {"schema": column.schema, "lock_timeout": LOCK_TIMEOUT, "worker": WORKER})
