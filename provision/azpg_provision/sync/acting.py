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
from azpg_provision.ledger.access import close
from azpg_provision.spec.identifier import quoted
from azpg_provision.sync import attached
from azpg_provision.sync.dependencies import judged_keys, wrong_key
from azpg_provision.sync.session import safe, schemas, template
from azpg_provision.target.target import Connection

_BUSY, _HELD = "AZ001", "AZ002"
"""The SQLSTATEs of leave.sql."""
_FUNCTION = """
CREATE FUNCTION {name}(statement pg_catalog.text, answers pg_catalog.bool) RETURNS SETOF pg_catalog.record
LANGUAGE plpgsql SECURITY DEFINER SET row_security = off AS {body}
"""
_MADE = """
SELECT function.prosecdef
       AND function.proconfig::pg_catalog.text OPERATOR(pg_catalog.=) '{{row_security=off}}'
       AND function.proowner OPERATOR(pg_catalog.=) class.relowner
       AND function.prosrc OPERATOR(pg_catalog.=) {body}
       AND function.proacl::pg_catalog.text OPERATOR(pg_catalog.=) ARRAY[pg_catalog.makeaclitem(
           function.proowner, function.proowner, 'EXECUTE', false)]::pg_catalog.text,
       {keys}, {attached}
FROM pg_catalog.pg_proc AS function
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
WHERE function.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND function.proname OPERATOR(pg_catalog.=) {function}
"""
_HANDS = """
SELECT class.relowner::pg_catalog.int8,
       EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
               JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
               WHERE attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                 AND attribute.attname OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.name[])
                 AND type.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)
FROM pg_catalog.pg_class AS class WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
"""
# 'SET' is a privilege of a membership since PostgreSQL 16.
_OWNER = """
SELECT owner.rolname::pg_catalog.text,
       pg_catalog.pg_has_role(owner.oid, CASE
           WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4
                OPERATOR(pg_catalog.<) 160000
           THEN 'MEMBER' ELSE 'SET' END) AND pg_catalog.pg_has_role(owner.oid, 'USAGE'),
       current_user::pg_catalog.text,
       coalesce(pg_catalog.has_schema_privilege(
           owner.oid, pg_catalog.to_regnamespace('azure_local_ai')::pg_catalog.oid, 'USAGE'), true),
       class.relrowsecurity AND class.relforcerowsecurity AND NOT (owner.rolsuper OR owner.rolbypassrls),
       pg_catalog.has_schema_privilege(owner.oid, class.relnamespace, 'USAGE'),
       {keys}, {attached}
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) class.relowner
WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
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


def owner_of(connection: Connection, column: VectorColumn) -> str:
    """The role that owns the table, as which this one may act.

    Raises `ApplyFailed` where it may not, or where others have a say in the key's types, or in what is
    attached to the table.
    """
    names, strict = [key.name for key in column.keys], _is_strict(column)
    row = _owner(connection, column.relation, names, [column.column], strict=strict)
    if row is None:
        raise ApplyFailed(f"there is no table {column.relation.as_string()} any more: run `azpg plan`.")
    if why := _wrong(connection, column.schema, column.relation, [column.column], row):
        raise ApplyFailed(f"{column.name}: {why}.")
    return str(row[0])


def hands(connection: Connection, column: VectorColumn) -> Hands:
    """In whose hands the table is, and whether the types of its key may change theirs."""
    values = [[key.name for key in column.keys], column.relation.as_string(connection)]
    row = connection.execute(_HANDS, values).fetchone()
    return Hands(*row) if row else Hands(0, types=False)


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
    relation = sql.Identifier(schema, table)
    row = _owner(connection, relation, keys, written, strict=strict)
    return "" if row is None else _wrong(connection, schema, relation, written, row)


def _owner(
    connection: Connection,
    relation: sql.Identifier,
    keys: Iterable[str],
    written: Iterable[str],
    *,
    strict: bool,
) -> tuple[Any, ...] | None:
    query = sql.SQL(_OWNER).format(
        keys=judged_keys(relation, keys, strict=strict),
        attached=attached.to_judge(relation, written),
        relation=sql.Literal(relation.as_string()),
    )
    return connection.execute(query).fetchone()


def _wrong(
    connection: Connection,
    schema: str,
    relation: sql.Identifier,
    written: Iterable[str],
    row: tuple[Any, ...],
) -> str:
    *known, keys, has_attached = row
    return (
        _trouble(schema, *known)
        or wrong_key(connection, relation.as_string(), keys)
        or (attached.foreign(connection, relation, written) if has_attached else "")
    )


def _is_strict(column: VectorColumn) -> bool:
    """Whether writers fire what acts as the owner, so that they could have names found in its place."""
    return column.sync is not Sync.GENERATED


def _trouble(schema: str, owner: str, may: bool, user: str, embeds: bool, hides: bool, sees: bool) -> str:
    rows = f"the role {owner!r}, which owns the table and with whose rights its rows are embedded,"
    who = quoted(owner)
    if not may:
        return (
            f"the table belongs to the role {owner!r}, as which {user!r} cannot act: GRANT {who} TO "
            f"{quoted(user)} (from PostgreSQL 16 on WITH INHERIT TRUE, SET TRUE), or change the owner of the "
            "table, and of the functions that its triggers, indexes and constraints call"
        )
    if not sees:
        return f"{rows} may not use the schema {schema!r}: GRANT USAGE ON SCHEMA {quoted(schema)} TO {who}"
    if hides:
        return (
            f"row-level security is forced on {rows[:-1]}: ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or "
            "give that role BYPASSRLS"
        )
    if not embeds:
        return f"{rows} may not use azure_local_ai: GRANT USAGE ON SCHEMA azure_local_ai TO {who}"
    return ""


def make(connection: Connection, column: VectorColumn, owner: str) -> None:
    """Makes the function, the owner's, who may create in schema azpg just now; there must be none."""
    connection.execute(
        sql.SQL(_FUNCTION).format(
            name=column.act_function, body=sql.Literal(_body(column).as_string(connection))
        )
    )
    close(connection, "FUNCTION", signature(column), owner=owner)


def made(connection: Connection, column: VectorColumn) -> bool:
    """Whether the function is as it is made, and the table's owner's."""
    return state(connection, column)[0]


def state(connection: Connection, column: VectorColumn) -> tuple[bool, str]:
    """The same, and what is wrong with the types of the table's key, or with what is attached to the table.

    Empty if nothing is, and where there is no such function.
    """
    names = [key.name for key in column.keys]
    query = sql.SQL(_MADE).format(
        body=sql.Literal(_body(column).as_string(connection)),
        relation=sql.Literal(column.relation.as_string(connection)),
        function=sql.Literal(f"act_{column.id}"),
        keys=judged_keys(column.relation, names, strict=_is_strict(column)),
        attached=attached.to_judge(column.relation, [column.column]),
    )
    rows = connection.execute(query).fetchall()
    if len(rows) != 1:
        return False, ""
    ((is_made, keys, has_attached),) = rows
    why = wrong_key(connection, column.relation.as_string(connection), keys)
    if not why and has_attached and is_made:
        why = attached.foreign(connection, column.relation, [column.column])
    return is_made is True, why


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
    rights of who is connected. See leave.sql. Raises `RowsFailed`.
    """
    body = template("leave").format(act=column.act_function, busy=sql.Literal(_BUSY), held=sql.Literal(_HELD))
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


def _body(column: VectorColumn) -> sql.Composed:
    return template("act").format(
        relation=sql.Literal(column.relation.as_string()),
        name=sql.Literal(column.name),
        schemas=sql.Literal(schemas(column.schema, column.keys)[:-1]),
        safe=safe(sql.SQL("azpg_owner")),
    )
