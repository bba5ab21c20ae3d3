"""Making, comparing and removing what keeps a column in step with its rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.ledger import carried, carry_column, make_functions
from azpg_provision.ledger.access import close, creating, give
from azpg_provision.ledger.tables import FUNCTIONS, disarm, former, made_for
from azpg_provision.live.local_ai import require
from azpg_provision.sync import acting
from azpg_provision.sync.bound import bind, bound, judge, needs_text
from azpg_provision.sync.generated import add_generated
from azpg_provision.sync.session import FORMATS, left_out
from azpg_provision.sync.triggers import NEW, OLD, body, triggers
from azpg_provision.sync.volatility import is_volatile
from azpg_provision.target.connecting import atomic
from azpg_provision.target.target import Connection

# A trigger function is called with its owner's rights: nobody else may hang it on a table of their own.
_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp {settings} AS {body}
"""
# A session keeps the plan of its first statement. After one of many rows that would read all of the table for
# each row to come; by index both are quick.
_JOINS = {"enable_hashjoin": "off", "enable_mergejoin": "off"}
_FOUND = """
SELECT t.tgname, t.tgtype::int, t.tgenabled::text, p.proname, t.tgoldtable, t.tgnewtable,
       pg_catalog.replace(pg_catalog.replace(
           pg_catalog.pg_get_expr(t.tgqual, t.tgrelid),
           named.relation, '{relation}'), named.function, '{function}'),
       t.tgattr::text, p.prosrc, p.prosecdef, l.lanname,
       p.proconfig = ARRAY['search_path=pg_catalog, pg_temp'] || %(formats)s::text[]
           || CASE WHEN p.proname ~ '^enqueue_' THEN %(joins)s::text[] ELSE '{}' END,
       p.proacl::text = ARRAY[pg_catalog.makeaclitem(p.proowner, p.proowner, 'EXECUTE', false)]::text
       AND p.proowner = (SELECT relowner FROM pg_catalog.pg_class WHERE oid = t.tgrelid)
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
CROSS JOIN LATERAL (SELECT
    pg_catalog.concat('''', pg_catalog.replace(t.tgrelid::pg_catalog.regclass::text, '''', ''''''), ''''),
    pg_catalog.concat('''', pg_catalog.replace(t.tgfoid::pg_catalog.regprocedure::text, '''', ''''''), '''')
) AS named (relation, function)  -- as pg_get_expr writes them, whatever they hold
WHERE t.tgrelid = pg_catalog.to_regclass(%(relation)s) AND NOT t.tgisinternal
  AND (p.pronamespace = pg_catalog.to_regnamespace('azpg') AND p.proname = ANY (%(functions)s)
       OR t.tgname = ANY (%(triggers)s))
ORDER BY t.tgname
"""


_STORED = """
SELECT stored.oid::pg_catalog.int8
FROM pg_catalog.pg_attrdef AS stored
JOIN pg_catalog.pg_attribute AS attribute
  ON attribute.attrelid OPERATOR(pg_catalog.=) stored.adrelid
 AND attribute.attnum OPERATOR(pg_catalog.=) stored.adnum
WHERE stored.adrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
  AND attribute.attname OPERATOR(pg_catalog.=) %s::pg_catalog.name
"""


def install(connection: Connection, column: VectorColumn) -> None:
    """Makes the triggers of a column's `sync` and removes others; does nothing if all is as it should be.

    From then on writers keep the column in step; rows of before are `azpg_provision.vectorize`'s work. Waits
    for transactions that write to the table.

    All of it is the table's owner's, with whose rights it runs: nobody gets others by it.

    Args:
        connection: of the server's admin, who owns the table or is a member of its owner.
        column: as the ledger has it.

    Raises `ApplyFailed` for a text that cannot be bound (`azpg_provision.sync.bound.bind`), and for an owner
    as which the admin may not act (`azpg_provision.sync.acting.owner_of`).
    """
    is_carried = carried(connection, column)
    if is_carried and bound(connection, column) and _in_step(connection, column):
        return
    owner = acting.owner_of(connection, column)
    anew = former(connection, column)
    with atomic(connection):
        remove(connection, column)
        if anew or not is_carried:
            column = carry_column(connection, column, anew=anew)
        with creating(connection, owner, made_for(column.id)):
            give(connection, owner, "TABLE", column.state, column.queue)
            acting.make(connection, column, owner)
            if needs_text(column):
                bind(connection, column)
            _make(connection, column, owner)
        if column.sync is not Sync.QUEUE:  # what waits there is told by the rows' state, too
            acting.command(connection, column, sql.SQL("DELETE FROM {}").format(column.queue))
        hands = acting.hands(connection, column)
        if made := [trigger.creation(column, hands) for trigger in triggers(column)]:
            if hands.types:
                make_functions(connection, "types_in_hand", "names_in_hand")
            connection.execute(sql.SQL("; ").join(made))
        acting.leave(connection, column)
        connection.execute("RESET search_path")


def _make(connection: Connection, column: VectorColumn, owner: str) -> None:
    """Makes the triggers' functions, the owner's."""
    names = sorted({trigger.function for trigger in triggers(column)})
    if not names:
        return
    made = []
    volatile = column.sync is Sync.TRIGGER and is_volatile(connection, column)
    for name in names:
        settings = FORMATS | (_JOINS if name.startswith("enqueue_") else {})
        made.append(
            sql.SQL(_FUNCTION).format(
                name=sql.Identifier("azpg", name),
                settings=sql.SQL(" ").join(
                    sql.SQL("SET {} = {}").format(sql.Identifier(one), sql.Literal(value))
                    for one, value in settings.items()
                ),
                body=sql.Literal(body(column, name, volatile=volatile).as_string(connection)),
            )
        )
    connection.execute(sql.SQL("; ").join(made))
    signatures = [sql.SQL("{}()").format(sql.Identifier("azpg", name)) for name in names]
    close(connection, "FUNCTION", *signatures, owner=owner)


def make_generated(connection: Connection, column: VectorColumn, *, vector: sql.Identifier) -> None:
    """Adds a column that PostgreSQL computes, which is not in the ledger yet; in a transaction.

    PostgreSQL computes what the text names for every row, and the table's own checks: as the table's owner.
    Raises `ApplyFailed` as `azpg_provision.sync.bound.bind`, and `ExtensionMismatch`.
    """
    owner = acting.owner_of(connection, column)
    require(connection)
    with creating(connection, owner, made_for(column.id)):
        acting.make(connection, column, owner)
        with connection.transaction(force_rollback=True):  # before any of it is computed
            bind(connection, column, strict=False)
    # Names are looked up once more, where nobody else could have put others meanwhile.
    try:
        with connection.transaction():
            acting.command(connection, column, add_generated(column, vector=vector))
    except psycopg.Error as error:
        if why := left_out(connection, column, error):
            raise ApplyFailed(f"{error.diag.message_primary}: {why}.") from None
        raise
    row = connection.execute(_STORED, [column.relation.as_string(connection), column.column]).fetchone()
    assert row is not None
    judge(connection, column, "pg_catalog.pg_attrdef", row[0], strict=False)
    acting.leave(connection, column)
    disarm(connection, column.id)
    connection.execute("RESET search_path")


def usable(connection: Connection, column: VectorColumn) -> bool:
    """Whether rows can be looked at as the table's owner: what belongs to the column is as azpg makes it."""
    return carried(connection, column) and bound(connection, column)


def installed(connection: Connection, column: VectorColumn, *, fit: bool | None = None) -> bool:
    """Whether the triggers are exactly those that `install` makes: enabled, with nothing changed or added.

    `fit` is whether the column is `usable`, where that is known.
    """
    return (usable(connection, column) if fit is None else fit) and _in_step(connection, column)


def _in_step(connection: Connection, column: VectorColumn) -> bool:
    hands = acting.hands(connection, column)
    volatile = column.sync is Sync.TRIGGER and is_volatile(connection, column)
    bodies = {
        name: body(column, name, volatile=volatile).as_string(connection)
        for name in {trigger.function for trigger in triggers(column)}
    }
    expected = [
        (
            trigger.name,
            trigger.kind,
            "O",
            trigger.function,
            OLD if trigger.old else None,
            NEW if trigger.new else None,
            trigger.when(column, hands),
            "",
            bodies[trigger.function],
            True,
            "plpgsql",
            True,
            True,
        )
        for trigger in triggers(column)
    ]
    return _found(connection, column) == sorted(expected)


def remove(connection: Connection, column: VectorColumn) -> None:
    """Drops the triggers and functions that `install` made; the column stays as it is."""
    with atomic(connection):
        for name, *_ in _found(connection, column):
            connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), column.relation))
        disarm(connection, column.id)


def _functions(column: VectorColumn) -> list[str]:
    return [f"{name}_{column.id}" for name in FUNCTIONS]


def _found(connection: Connection, column: VectorColumn) -> list[tuple[Any, ...]]:
    values = {
        "relation": column.relation.as_string(connection),
        "functions": _functions(column),
        # By its name, too: the owner can put a function into another schema.
        "triggers": [trigger.name for sync in Sync for trigger in triggers(replace(column, sync=sync))],
        "formats": [f"{one}={value}" for one, value in FORMATS.items()],
        "joins": [f"{one}={value}" for one, value in _JOINS.items()],
    }
    return connection.execute(_FOUND, values).fetchall()
