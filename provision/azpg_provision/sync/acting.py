"""Acting as a table's owner: what touches the table runs with its owner's rights, not with an admin's.

An admin that wrote to a table, or counted its rows, would run its owner's triggers, functions and types with
the admin's rights. SET ROLE is no cure: what runs then can set it back. A SECURITY DEFINER function of the
owner's is: PostgreSQL lets nobody change the role in one. ``azpg.act_N(statement, answers)`` is that.

What is left is the end of the transaction, which is the admin's again: `leave` does before it, as the owner,
what is deferred to it. A look that is rolled back has no such end, see `look`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed, RowsFailed
from azpg_provision.ledger.access import closing
from azpg_provision.ledger.applied import applied_of
from azpg_provision.live.values import listed
from azpg_provision.sync.judging import verdicts
from azpg_provision.sync.session import LOCK_TIMEOUT, safe, schemas, template
from azpg_provision.sync.tables import Wanted
from azpg_provision.target.target import Connection

_BUSY, _HELD = "AZ001", "AZ002"
"""The SQLSTATEs of leave.sql."""
_FUNCTION = """
CREATE FUNCTION {name}(statement pg_catalog.text, answers pg_catalog.bool) RETURNS SETOF pg_catalog.record
LANGUAGE plpgsql SECURITY DEFINER SET row_security = off AS {body}
"""
MADE = """
SELECT pg_catalog.bool_and(
           function.prosecdef
           AND function.proconfig::pg_catalog.text OPERATOR(pg_catalog.=) '{{row_security=off}}'
           AND function.proowner OPERATOR(pg_catalog.=) class.relowner
           AND function.prosrc OPERATOR(pg_catalog.=) wanted.body
           AND function.proacl::pg_catalog.text OPERATOR(pg_catalog.=) ARRAY[pg_catalog.makeaclitem(
               function.proowner, function.proowner, 'EXECUTE', false)]::pg_catalog.text)
FROM pg_catalog.pg_proc AS function
JOIN pg_catalog.pg_class AS class
  ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
WHERE function.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND function.proname OPERATOR(pg_catalog.=) pg_catalog.concat('act_', wanted.id)::pg_catalog.name
HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) 1
"""
"""Of `wanted`, with a number, a table and a `body`: whether its function is as it is made, and the table's
owner's; NULL where there is not one."""
_HANDS = """
SELECT wanted.id, class.relowner::pg_catalog.int8,
       EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
               JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
               WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                 AND attribute.attname OPERATOR(pg_catalog.=) ANY (wanted.keys::pg_catalog.name[])
                 AND type.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)
FROM (VALUES {wanted}) AS wanted (id, relation, keys)
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
"""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who owns what the triggers of a column run with.

    Attributes:
        owner: the number of the role that owns the table, 0 if there is no table any more.
        types: whether the key has types that are not PostgreSQL's own.
    """

    owner: int
    types: bool


def wanted_of(column: VectorColumn) -> Wanted:
    """The table of a column as the ledger has it, and what azpg does there."""
    names = tuple(sorted(key.name for key in column.keys))
    # Where writers fire what acts as the owner, they could have names found in its place.
    return Wanted(
        column.relation.as_string(), names, (column.column,), strict=column.sync is not Sync.GENERATED
    )


def owner_of(connection: Connection, column: VectorColumn) -> str:
    """The role that owns the table, as which this one may act.

    Raises `ApplyFailed` where it may not, or where others have a say in the key's types, or in what is
    attached to the table.
    """
    (verdict,) = verdicts(connection, [wanted_of(column)])
    if verdict.owner is None:
        raise ApplyFailed(f"there is no table {column.relation.as_string()} any more: run `azpg plan`.")
    if verdict.why:
        raise ApplyFailed(f"{column.name}: {verdict.why}.")
    return verdict.owner


def hands(connection: Connection, columns: Sequence[VectorColumn]) -> dict[int, Hands]:
    """In whose hands tables are, and whether their keys' types may change theirs, by columns' numbers."""
    if not columns:
        return {}
    wanted = [(one.id, one.relation.as_string(), [key.name for key in one.keys]) for one in columns]
    rows = connection.execute(sql.SQL(_HANDS).format(wanted=listed(wanted))).fetchall()
    return {one.id: Hands(0, types=False) for one in columns} | {
        number: Hands(owner, types=types) for number, owner, types in rows
    }


def trouble(
    connection: Connection,
    schema: str,
    table: str,
    keys: Iterable[str],
    written: Collection[str],
    *,
    strict: bool = True,
) -> str:
    """Why rows of a table cannot be embedded with its owner's rights, and what to do; empty if they can.

    Of a table that is not there nothing is known. Nothing but catalogues is read.

    Args:
        connection: in any transaction, or none.
        schema: of the table.
        table: its name.
        keys: the columns of its key.
        written: the columns that azpg writes.
        strict: whether what belongs to their types may not look names up when it runs, as of a text.
    """
    wanted = Wanted(sql.Identifier(schema, table).as_string(), tuple(keys), tuple(written), strict)
    return verdicts(connection, [wanted])[0].why


def make(connection: Connection, column: VectorColumn, owner: str, *first: sql.Composable) -> None:
    """Makes the function, the owner's, who may create in schema azpg just now; there must be none.

    After the statements `first`, in one with them.
    """
    made = sql.SQL(_FUNCTION).format(name=column.act_function, body=sql.Literal(body(connection, column)))
    closed = closing("FUNCTION", signature(column), owner=owner)
    connection.execute(sql.SQL("; ").join([*first, made, closed]))


def made(connection: Connection, column: VectorColumn) -> bool:
    """Whether the function is as it is made, and the table's owner's."""
    query = sql.SQL("SELECT ({made}) FROM (VALUES {wanted}) AS wanted (id, relation, body)").format(
        made=sql.SQL(MADE).format(),
        wanted=listed([(column.id, column.relation.as_string(connection), body(connection, column))]),
    )
    return connection.execute(query).fetchone() == (True,)


def state(connection: Connection, column: VectorColumn) -> tuple[bool, str]:
    """The same, and what is wrong with the types of the table's key, or with what is attached to the table.

    Empty if nothing is.
    """
    is_made = made(connection, column)
    (verdict,) = verdicts(connection, [wanted_of(column)])
    return is_made, verdict.foreign if is_made else verdict.key


def signature(column: VectorColumn) -> sql.Composed:
    """The function with its arguments' types."""
    return sql.SQL("{}(pg_catalog.text, pg_catalog.bool)").format(column.act_function)


def look(
    connection: Connection, column: VectorColumn, query: sql.Composable, answers: str
) -> list[tuple[Any, ...]]:
    """What a query answers, as the table's owner. Nothing that it does stays.

    Args:
        connection: in any transaction, or none.
        column: with the function.
        query: the query.
        answers: the columns that it has and their types, such as ``a int8, b text[]``.
    """
    with connection.transaction(force_rollback=True):
        return act(connection, column, query, answers)


def act(
    connection: Connection, column: VectorColumn, statement: sql.Composable, answers: str
) -> list[tuple[Any, ...]]:
    """Does a statement as the table's owner, in the caller's transaction, which `leave` has to end.

    See `look` for the arguments.
    """
    called = sql.SQL("SELECT * FROM {}({}, true) AS azpg_answer ({})").format(
        column.act_function,
        sql.Literal(statement.as_string(connection)),
        sql.SQL(", ").join(sql.SQL(one) for one in _qualified(answers)),
    )
    return connection.execute(called).fetchall()


def command(connection: Connection, column: VectorColumn, statement: sql.Composable) -> None:
    """The same of a statement that answers nothing, such as an ALTER TABLE."""
    text = sql.Literal(statement.as_string(connection))
    called = sql.SQL("SELECT FROM {}({}, false) AS azpg_answer (nothing pg_catalog.bool)")
    connection.execute(called.format(column.act_function, text))


def leave(connection: Connection, column: VectorColumn) -> None:
    """Makes sure, as the last thing in a transaction, that what ran leaves nothing to its end.

    What is deferred is done before that, as the owner, and a cursor WITH HOLD would be read then, with the
    rights of who is connected. Nor anything temporary to the session. See leave.sql. Raises `RowsFailed`.
    """
    body = template("leave").format(
        act=column.act_function,
        patience=sql.Literal(LOCK_TIMEOUT),
        busy=sql.Literal(_BUSY),
        held=sql.Literal(_HELD),
    )
    try:
        connection.execute(sql.SQL("DO {}").format(sql.Literal(body.as_string(connection))))
    except psycopg.Error as error:
        if error.sqlstate == _HELD:
            raise RowsFailed(
                f"a trigger or a function of {column.name}'s table leaves a cursor WITH HOLD open, which "
                "would be read with other rights: nothing was written. Take that out, and run it again."
            ) from None
        if error.sqlstate == _BUSY:
            raise RowsFailed(
                f"deferred triggers of {column.name}'s table defer others again and again, so that the last "
                "would be fired with other rights: nothing was written. Take SET CONSTRAINTS out of them."
            ) from None
        raise


def _qualified(answers: str) -> Sequence[str]:
    parts = [part.split() for part in answers.split(",")]
    return [f"{name} pg_catalog.{type_}" for name, type_ in parts]


def body(connection: Connection, column: VectorColumn) -> str:
    """The PL/pgSQL of the function, as of a connection."""
    made = template("act").format(
        relation=sql.Literal(column.relation.as_string()),
        name=sql.Literal(column.name),
        schemas=sql.Literal(schemas(column.schema, column.keys)[:-1]),
        safe=safe(sql.SQL("azpg_owner")),
        applied=applied_of(column),
        was=sql.Literal(column.applied),
    )
    return made.as_string(connection)
