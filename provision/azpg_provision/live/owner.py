"""Reads a table with its owner's rights, in a transaction that only reads and leaves nothing behind.

Whoever owns a table decides what runs when somebody reads it: a view can take its name, and as soon as
PostgreSQL plans any query over a table, a count too, it computes what is constant in the expressions of its
indexes, statistics and checks, with the rights of who asks. A lock on the table is no cure: its schema can be
renamed meanwhile, and an index made. Nor is SET ROLE, which what runs can set back. A SECURITY DEFINER
function of the owner's is one, for PostgreSQL lets nobody change the role in it. It is made, given to the
owner, used and gone in one transaction, which nobody else sees, and which only reads from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import errors, sql

from azpg_provision.errors import PlanRefused
from azpg_provision.target.target import Connection

_LOCK = "LOCK TABLE ONLY {} IN ACCESS SHARE MODE"
# 'SET' is a privilege of a membership since PostgreSQL 16.
_TABLE = """
SELECT class.relkind OPERATOR(pg_catalog.=) 'r' AND NOT class.relispartition,
       owner.rolname::pg_catalog.text,
       current_user::pg_catalog.text,
       pg_catalog.pg_has_role(owner.oid, CASE
           WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4
                OPERATOR(pg_catalog.<) 160000
           THEN 'MEMBER' ELSE 'SET' END),
       pg_catalog.has_database_privilege(owner.oid, pg_catalog.current_database(), 'TEMPORARY')
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) class.relowner
WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
"""
# The search_path is the session's, so that a prepared statement means what it meant.
_FUNCTION = """
CREATE FUNCTION pg_temp.azpg_read(statement pg_catalog.text) RETURNS SETOF pg_catalog.record
LANGUAGE plpgsql SECURITY DEFINER SET row_security = off AS
$$ BEGIN RETURN QUERY EXECUTE statement; END $$
"""
_GIVEN = "ALTER FUNCTION pg_temp.azpg_read(pg_catalog.text) OWNER TO {}"
_CALL = "SELECT * FROM pg_temp.azpg_read({})"
_ANSWER = " AS azpg_answer ({})"


@dataclass(frozen=True, slots=True)
class OwnersView:
    """What the owner of a table sees."""

    connection: Connection

    def rows(self, query: sql.Composable, answers: str) -> list[tuple[Any, ...]]:
        """What a query answers, without parameters.

        Args:
            query: the query; names in it are looked up with the owner's rights, too.
            answers: its columns and their types of PostgreSQL's own, such as ``a int8, b text[]``.
        """
        columns = [part.split() for part in answers.split(",")]
        call = sql.SQL(_CALL).format(sql.Literal(query.as_string(self.connection)))
        answer = sql.SQL(_ANSWER).format(
            sql.SQL(", ").join(sql.SQL(f"{name} pg_catalog.{type_}") for name, type_ in columns)
        )
        return self.connection.execute(call + answer).fetchall()


@contextmanager
def as_owner(
    connection: Connection, schema: str, table: str, settings: Mapping[str, str] | None = None
) -> Iterator[OwnersView]:
    """A transaction in which queries run as the table's owner; nothing in it writes, and nothing stays.

    What runs there could leave settings in the session: the caller ends it with the transaction, or qualifies
    every name that it uses afterwards (`azpg_provision.target.connecting` prepares no statement by itself,
    which the owner could have replaced).

    Args:
        connection: in autocommit, of a role that may act as the owner.
        schema: of the table.
        table: an ordinary one.
        settings: of PostgreSQL, for the transaction.

    Raises `PlanRefused` for what is no ordinary table, and where the role may not act as the owner.
    """
    with connection.transaction(force_rollback=True):
        owner = _owner(connection, schema, table)
        connection.execute(_FUNCTION)
        connection.execute(sql.SQL(_GIVEN).format(sql.Identifier(owner)))
        for name, value in (settings or {}).items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
        # After the queries of before, PostgreSQL does not let that be undone from inside.
        connection.execute("SET TRANSACTION READ ONLY")
        yield OwnersView(connection)


def _owner(connection: Connection, schema: str, table: str) -> str:
    """The role that owns an ordinary table, which is locked: it is not dropped or changed meanwhile."""
    relation = sql.Identifier(schema, table)
    name = relation.as_string(connection)
    try:
        connection.execute(sql.SQL(_LOCK).format(relation))  # which runs nothing, of a view either
        row = connection.execute(_TABLE, [name]).fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.WrongObjectType):
        row = None
    if row is None or not row[0]:
        raise PlanRefused(
            f"{name} is no ordinary table any more, such as where its owner has put a view in its place: run "
            "`azpg plan`, which says what there is."
        )
    _, owner, user, may, temporary = row
    if not may:
        raise PlanRefused(
            f"{name} belongs to the role {owner!r}, as which {user!r} cannot read it: GRANT that role to "
            f"{user!r} (from PostgreSQL 16 on WITH SET TRUE), or change the owner of the table, and of the "
            "functions that its triggers, indexes and constraints call."
        )
    if not temporary:
        database = sql.Identifier(connection.info.dbname).as_string(connection)
        raise PlanRefused(
            f"{name} is read as its owner {owner!r}, who needs a right of the database for that: GRANT "
            f"TEMPORARY ON DATABASE {database} TO that role."
        )
    return str(owner)
