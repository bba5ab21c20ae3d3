"""What is attached to a table: triggers, indexes, constraints, and whatever else runs when rows are written.

Azpg acts as the table's owner, so all of it runs with the owner's rights. Not all of it is the owner's: who
has the privilege TRIGGER attaches triggers with functions of their own, and what a former owner attached
stays when the table changes hands, with functions that stay the former owner's, who may replace them.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.sync.dependencies import judged
from azpg_provision.sync.session import template
from azpg_provision.target.target import Connection

_FOREIGN = """
SELECT azpg_attached.what, azpg_attached.cure, found.what, found.owner, found.mine
FROM ({attached}) AS azpg_attached
CROSS JOIN LATERAL ({judged}) AS found (what, owner, mine, fine, path, body, runs)
WHERE NOT found.fine AND NOT pg_catalog.pg_has_role(found.owner::pg_catalog.name, (
    SELECT class.relowner FROM pg_catalog.pg_class AS class
    WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})), 'USAGE')
LIMIT 1
"""
_EACH = "SELECT azpg_attached.class, azpg_attached.object"
_LOCKED = "LOCK TABLE ONLY {relation} IN ROW EXCLUSIVE MODE; SELECT {attached}"


def to_judge(relation: sql.Identifier, written: Iterable[str]) -> sql.Composed:
    """An expression, which costs little: whether `foreign` has something to judge that is attached.

    Args:
        relation: the table; of one that is not there nothing is found.
        written: the columns that azpg writes.
    """
    return sql.SQL("EXISTS ({})").format(_attached(relation, written))


def foreign(connection: Connection, relation: sql.Identifier, written: Iterable[str]) -> str:
    """What is attached of which others could make something else, and what to do; empty if nothing is.

    Whoever owns it may be a superuser, as much an admin as who is connected, or a role that could act as the
    table's owner anyway. Nothing but catalogues is read.

    Args:
        connection: in any transaction, or none.
        relation: as of `to_judge`.
        written: as of `to_judge`.
    """
    query = sql.SQL(_FOREIGN).format(
        attached=_attached(relation, written),
        judged=judged(sql.SQL(_EACH), relation, strict=False),
        relation=sql.Literal(relation.as_string()),
    )
    row = connection.execute(query).fetchone()
    if row is None:
        return ""
    what, cure, used, owner, mine = row
    table = relation.as_string()
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


def hold(connection: Connection, column: VectorColumn) -> str:
    """`foreign`, for good: locks the table, so that nothing is attached to it before the transaction's end.

    To be the first thing in a transaction that writes as the table's owner.
    """
    relation, written = column.relation, [column.column]
    query = sql.SQL(_LOCKED).format(relation=relation, attached=to_judge(relation, written))
    cursor = connection.execute(query)
    cursor.nextset()
    return foreign(connection, relation, written) if cursor.fetchone() == (True,) else ""


def _attached(relation: sql.Identifier, written: Iterable[str]) -> sql.Composed:
    return template("attached").format(
        relation=sql.Literal(relation.as_string()), written=sql.Literal(sorted(written))
    )
