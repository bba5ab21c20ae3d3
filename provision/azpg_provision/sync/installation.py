"""Making, comparing and removing what keeps a column in step with its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.ledger import all_carried, applied, carried, carry_column, make_functions
from azpg_provision.ledger.access import closing, creating, giving
from azpg_provision.ledger.tables import FUNCTIONS, disarm, former, made_for
from azpg_provision.live.local_ai import require
from azpg_provision.live.values import listed
from azpg_provision.sync import acting
from azpg_provision.sync.bound import bind, bound, judge, needs_text, unbound_of
from azpg_provision.sync.generated import add_generated
from azpg_provision.sync.judging import Verdict
from azpg_provision.sync.session import FORMATS, left_out
from azpg_provision.sync.triggers import NEW, OLD, body, triggers
from azpg_provision.sync.volatility import is_volatile, printed_by_settings
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
SELECT wanted.id, t.tgname, t.tgtype::int, t.tgenabled::text, p.proname, t.tgoldtable, t.tgnewtable,
       pg_catalog.replace(pg_catalog.replace(
           pg_catalog.pg_get_expr(t.tgqual, t.tgrelid),
           named.relation, '{{relation}}'), named.function, '{{function}}'),
       t.tgattr::text, p.prosrc, p.prosecdef, l.lanname,
       p.proconfig = ARRAY['search_path=pg_catalog, pg_temp'] || {formats}::text[]
           || CASE WHEN p.proname ~ '^enqueue_' THEN {joins}::text[] ELSE '{{}}' END,
       p.proacl::text = ARRAY[pg_catalog.makeaclitem(p.proowner, p.proowner, 'EXECUTE', false)]::text
       AND p.proowner = (SELECT relowner FROM pg_catalog.pg_class WHERE oid = t.tgrelid)
FROM (VALUES {wanted}) AS wanted (id, relation, functions, triggers)
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = pg_catalog.to_regclass(wanted.relation) AND NOT t.tgisinternal
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
CROSS JOIN LATERAL (SELECT
    pg_catalog.concat('''', pg_catalog.replace(t.tgrelid::pg_catalog.regclass::text, '''', ''''''), ''''),
    pg_catalog.concat('''', pg_catalog.replace(t.tgfoid::pg_catalog.regprocedure::text, '''', ''''''), '''')
) AS named (relation, function)  -- as pg_get_expr writes them, whatever they hold
WHERE p.pronamespace = pg_catalog.to_regnamespace('azpg') AND p.proname = ANY (wanted.functions::name[])
      OR t.tgname = ANY (wanted.triggers::name[])
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


def install(connection: Connection, column: VectorColumn) -> VectorColumn:
    """Makes the triggers of a column's `sync` and removes others; does nothing if all is as it should be.

    From then on writers keep the column in step; rows of before are `azpg_provision.vectorize`'s work. Waits
    for transactions that write to the table.

    All of it is the table's owner's, with whose rights it runs: nobody gets others by it.

    Args:
        connection: of the server's admin, who owns the table or is a member of its owner.
        column: as the ledger has it.

    Returns `column` as the ledger has it now.

    Raises `ApplyFailed` for a text that cannot be bound (`azpg_provision.sync.bound.bind`), and for an owner
    as which the admin may not act (`azpg_provision.sync.acting.owner_of`).
    """
    is_carried = carried(connection, column)
    if is_carried and bound(connection, column) and _in_step(connection, column):
        return column
    owner = acting.owner_of(connection, column)
    anew = former(connection, column)
    with atomic(connection):
        remove(connection, column)
        if anew or not is_carried:
            column = carry_column(connection, column, anew=anew)
        column = applied.note(connection, column)
        with creating(connection, owner, made_for(column.id)):
            acting.make(connection, column, owner, giving(owner, "TABLE", column.state, column.queue))
            if needs_text(column):
                bind(connection, column)
            _make(connection, column, owner)
        if column.sync is not Sync.QUEUE:  # what waits there is told by the rows' state, too
            acting.command(connection, column, sql.SQL("DELETE FROM {}").format(column.queue))
        hands = acting.hands(connection, [column])[column.id]
        made = [trigger.creation(column, hands) for trigger in triggers(column)]
        if made and hands.types:
            make_functions(connection, "types_in_hand", "names_in_hand")
        connection.execute(sql.SQL("; ").join([applied.noting_text(column), *made]))
        acting.leave(connection, column)
        connection.execute("RESET search_path")
    return column


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
    signatures = [sql.SQL("{}()").format(sql.Identifier("azpg", name)) for name in names]
    connection.execute(sql.SQL("; ").join([*made, closing("FUNCTION", *signatures, owner=owner)]))


def make_generated(connection: Connection, column: VectorColumn, *, vector: sql.Identifier) -> None:
    """Adds a column that PostgreSQL computes, which is not in the ledger yet; in a transaction.

    PostgreSQL computes what the text names for every row, and the table's own checks: as the table's owner.
    Raises `ApplyFailed` as `azpg_provision.sync.bound.bind`, and `ExtensionMismatch`.
    """
    owner = acting.owner_of(connection, column)
    require(connection)
    column = applied.see(connection, column)
    with creating(connection, owner, made_for(column.id)):
        acting.make(connection, column, owner)
        with connection.transaction(force_rollback=True):  # before any of it is computed
            bind(connection, column, strict=False)
            printed = printed_by_settings(connection, column)
    if printed:
        raise ApplyFailed(
            f"{column.name} prints values of {printed}, which look as the session of each writer says, such "
            "as by extra_float_digits: cast numbers to numeric, and call encode() for bytes; or use "
            "`sync: trigger`, whose triggers have settings of their own."
        )
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


def installed(connection: Connection, column: VectorColumn) -> bool:
    """Whether the triggers are exactly those that `install` makes: enabled, with nothing changed or added."""
    return usable(connection, column) and _in_step(connection, column)


def all_usable(
    connection: Connection, columns: Sequence[VectorColumn], known: Mapping[int, Verdict]
) -> set[int]:
    """The numbers of columns that are `usable`.

    Args:
        connection: in any transaction, or none.
        columns: as the ledger has them.
        known: what there is to say of their tables, by columns' numbers.
    """
    are_carried = all_carried(connection, columns)
    why = unbound_of(connection, [one for one in columns if one.id in are_carried], known)
    return {number for number, trouble in why.items() if not trouble}


def all_in_step(connection: Connection, columns: Sequence[VectorColumn]) -> set[int]:
    """The numbers of columns that are `installed`, of those that are `usable`."""
    hands, found = acting.hands(connection, columns), _found(connection, columns)
    return {one.id for one in columns if found[one.id] == _expected(connection, one, hands[one.id])}


def _in_step(connection: Connection, column: VectorColumn) -> bool:
    return column.id in all_in_step(connection, [column])


def _expected(connection: Connection, column: VectorColumn, hands: acting.Hands) -> list[tuple[Any, ...]]:
    volatile = column.sync is Sync.TRIGGER and is_volatile(connection, column)
    bodies = {
        name: body(column, name, volatile=volatile).as_string(connection)
        for name in {trigger.function for trigger in triggers(column)}
    }
    return sorted(
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
    )


def remove(connection: Connection, column: VectorColumn) -> None:
    """Drops the triggers and functions that `install` made; the column stays as it is."""
    with atomic(connection):
        for name, *_ in _found(connection, [column])[column.id]:
            connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(name), column.relation))
        disarm(connection, column.id)


def _functions(column: VectorColumn) -> list[str]:
    return [f"{name}_{column.id}" for name in FUNCTIONS]


def _found(connection: Connection, columns: Sequence[VectorColumn]) -> dict[int, list[tuple[Any, ...]]]:
    """The triggers of columns that are there, by columns' numbers."""
    if not columns:
        return {}
    wanted = [
        [
            one.id,
            one.relation.as_string(connection),
            _functions(one),
            # By its name, too: the owner can put a function into another schema.
            [trigger.name for sync in Sync for trigger in triggers(replace(one, sync=sync))],
        ]
        for one in columns
    ]
    query = sql.SQL(_FOUND).format(
        wanted=listed(wanted),
        formats=sql.Literal([f"{one}={value}" for one, value in FORMATS.items()]),
        joins=sql.Literal([f"{one}={value}" for one, value in _JOINS.items()]),
    )
    found: dict[int, list[tuple[Any, ...]]] = {one.id: [] for one in columns}
    for number, *trigger in connection.execute(query).fetchall():
        found[number].append(tuple(trigger))
    return found
