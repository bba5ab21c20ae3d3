"""What is attached to a table: triggers, indexes, constraints, and whatever else runs when rows are written.

Azpg acts as the table's owner, so all of it runs with the owner's rights. Not all of it is the owner's: who
has the privilege TRIGGER attaches triggers with functions of their own, and what a former owner attached
stays when the table changes hands, with functions that stay the former owner's, who may replace them.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.sync.dependencies import Row, judged_for
from azpg_provision.sync.session import template
from azpg_provision.sync.tables import Tables, Wanted
from azpg_provision.target.target import Connection

_EACH = """
SELECT attached.number, attached.owner, false, attached.what, attached.cure, attached.class, attached.object
FROM ({attached}) AS attached (number, owner, what, cure, class, object)
"""
_LOCKED = "LOCK TABLE ONLY {relation} IN ROW EXCLUSIVE MODE; SELECT EXISTS ({attached})"


def attached(wanted: sql.Composable) -> sql.Composed:
    """A query of what is attached to tables, which costs little: whether `foreign_to` has something to judge.

    Args:
        wanted: a query of tables, as `azpg_provision.sync.tables.Tables.query`.
    """
    return template("attached").format(tables=wanted)


def foreign_to(connection: Connection, tables: Tables) -> list[str]:
    """What is attached of which others could make something else, and what to do; empty of what is well.

    Whoever owns it may be a superuser, as much an admin as who is connected, or a role that could act as the
    table's owner anyway. Nothing but catalogues is read.

    Args:
        connection: in any transaction, or none.
        tables: of one that is not there nothing is found.

    Returns as many as there are tables.
    """
    starts = sql.SQL(_EACH).format(attached=attached(tables.query))
    found = judged_for(connection, starts, members=True)
    return [
        _said(table.name, *found[number][0]) if number in found else ""
        for number, table in enumerate(tables.wanted)
    ]


def _said(table: str, what: str, cure: str, row: Row) -> str:
    used, owner, mine, *_ = row
    return (
        f"{what} of {table} depends on {used}, which belongs to the role {owner!r}: who owns it could let it "
        "do anything, with the rights of the table's owner, as which azpg reads and writes rows. Look at "
        f"what it does, then ALTER … OWNER TO {mine}, or to an admin where other tables use it, or {cure}"
        + (
            f"; and REVOKE TRIGGER ON {table} from whom the table's owner does not trust"
            if cure.startswith("DROP TRIGGER")
            else ""
        )
    )


def foreign(connection: Connection, relation: sql.Identifier, written: Iterable[str]) -> str:
    """`foreign_to` one table.

    Args:
        connection: in any transaction, or none.
        relation: the table.
        written: the columns that azpg writes.
    """
    return foreign_to(connection, Tables([Wanted(relation.as_string(), written=tuple(sorted(written)))]))[0]


def hold(connection: Connection, column: VectorColumn) -> str:
    """`foreign`, for good: locks the table, so that nothing is attached to it before the transaction's end.

    To be the first thing in a transaction that writes as the table's owner.
    """
    tables = Tables([Wanted(column.relation.as_string(), written=(column.column,))])
    query = sql.SQL(_LOCKED).format(relation=column.relation, attached=attached(tables.query))
    cursor = connection.execute(query)
    cursor.nextset()
    return foreign_to(connection, tables)[0] if cursor.fetchone() == (True,) else ""
