"""Making, comparing and removing what keeps a column in step with its rows."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.sync.session import FORMATS, schemas, search_path
from azpg_provision.sync.triggers import NEW, OLD, WHEN, body, triggers
from azpg_provision.target.target import Connection

_FUNCTIONS = ("embed", "note", "enqueue", "clear")
# A trigger function is called with its owner's rights: nobody else may hang it on a table of their own.
_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {path} {settings} AS {body}
"""
# A session keeps the plan of its first statement. After one of many rows that would read all of the table for
# each row to come; by index both are quick.
_JOINS = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
_FOUND = """
SELECT t.tgname, t.tgtype::int, t.tgenabled::text, p.proname, t.tgoldtable, t.tgnewtable,
       pg_catalog.pg_get_expr(t.tgqual, t.tgrelid), t.tgattr::text, p.prosrc, p.prosecdef, l.lanname,
       p.proconfig = ARRAY[
           'search_path=' || (
               SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ' ORDER BY number)
               FROM pg_catalog.unnest(%(schemas)s::text[]) WITH ORDINALITY AS path (name, number))]
           || %(formats)s::text[]
           || CASE WHEN p.proname ~ '^enqueue_' THEN %(joins)s::text[] ELSE '{}' END,
       pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
WHERE t.tgrelid = pg_catalog.to_regclass(%(relation)s) AND NOT t.tgisinternal
  AND p.pronamespace = pg_catalog.to_regnamespace('azpg') AND p.proname = ANY (%(functions)s)
ORDER BY t.tgname
"""


def install(connection: Connection, column: VectorColumn) -> None:
    """Makes the triggers of a column's `sync` and removes others; does nothing if all is as it should be.

    From then on writers keep the column in step; rows of before are `azpg_provision.vectorize`'s work. Waits
    for transactions that write to the table.

    Args:
        connection: of the server's admin, who owns the table or is a member of its owner.
        column: as the ledger has it.
    """
    if installed(connection, column):
        return
    with connection.transaction():
        remove(connection, column)
        if column.sync is not Sync.QUEUE:  # what waits there is told by the rows' state, too
            connection.execute(sql.SQL("DELETE FROM {}").format(column.queue))
        wanted = triggers(column)
        for name in sorted({trigger.function for trigger in wanted}):
            function = sql.Identifier("azpg", name)
            text = body(column, name).as_string(connection)
            settings = FORMATS | (_JOINS if name.startswith("enqueue_") else {})
            connection.execute(
                sql.SQL(_FUNCTION).format(
                    name=function,
                    path=search_path(column),
                    settings=sql.SQL(" ").join(
                        sql.SQL("SET {} = {}").format(sql.Identifier(one), sql.Literal(value))
                        for one, value in settings.items()
                    ),
                    body=sql.Literal(text),
                )
            )
            connection.execute(sql.SQL("REVOKE ALL ON FUNCTION {}() FROM PUBLIC").format(function))
        for trigger in wanted:
            connection.execute(trigger.creation(column))


def installed(connection: Connection, column: VectorColumn) -> bool:
    """Whether the triggers are exactly those that `install` makes: enabled, with nothing changed or added."""
    expected = [
        (
            trigger.name,
            trigger.kind,
            "O",
            trigger.function,
            OLD if trigger.old else None,
            NEW if trigger.new else None,
            None if trigger.by_worker else WHEN,
            "",
            body(column, trigger.function).as_string(connection),
            True,
            "plpgsql",
            True,
            False,
        )
        for trigger in triggers(column)
    ]
    return _found(connection, column) == sorted(expected)


def remove(connection: Connection, column: VectorColumn) -> None:
    """Drops the triggers and functions that `install` made; the column stays as it is."""
    with connection.transaction():
        for name, *_ in _found(connection, column):
            connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), column.relation))
        for name in _functions(column):
            connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(sql.Identifier("azpg", name)))


def _functions(column: VectorColumn) -> list[str]:
    return [f"{name}_{column.id}" for name in _FUNCTIONS]


def _found(connection: Connection, column: VectorColumn) -> list[tuple[Any, ...]]:
    values = {
        "relation": column.relation.as_string(connection),
        "schemas": schemas(column.schema, column.keys),
        "functions": _functions(column),
        "formats": [f"{one}={value}" for one, value in FORMATS.items()],
        "joins": [f"{one}={value}" for one, value in _JOINS.items()],
    }
    return connection.execute(_FOUND, values).fetchall()
