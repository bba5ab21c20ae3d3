"""How statements about a column run, in a worker's session as in a trigger, and where a text's names are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import psycopg
from psycopg import sql

from azpg_provision.column import Key, VectorColumn
from azpg_provision.spec.identifier import quoted
from azpg_provision.target.target import Connection

WORKER = "azpg_provision.worker"
"""The setting in which a worker says a column's secret to its triggers, which leave its writes alone."""

LOCK_TIMEOUT = "250ms"
"""A worker waits for no row. For what else it waits, such as a row that a trigger of the user's own writes,
it gives up long before PostgreSQL looks for deadlocks (1 s), so that no writer is chosen to end one."""

FORMATS = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "default_text_search_config": "pg_catalog.english",
}
"""What a value looks like as text, and how words are found in one, by PostgreSQL's names of the settings: the
same for every writer, whatever its driver sets, as for every worker, or else each would embed another text of
the same row. Nor may a writer name a text search configuration of its own."""

_WORKER = {
    "lock_timeout": LOCK_TIMEOUT,
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "row_security": "off",  # rows that a policy hides are an error, not silently left out
}
_NOT_FOUND = frozenset({"42P01", "42704", "42883"})
"""The SQLSTATEs of a relation, a type, and a function or operator that does not exist."""
_CREATOR = """
CASE WHEN given.rolname OPERATOR(pg_catalog.=) 'pg_database_owner'
     THEN pg_catalog.pg_get_userbyid(database.datdba) ELSE given.rolname END::pg_catalog.text,
acl.grantee OPERATOR(pg_catalog.=) schema.nspowner
"""
_LEFT = "pg_catalog.pg_get_userbyid(whose.role)::pg_catalog.text, true"


def schemas(schema: str, keys: Iterable[Key]) -> list[str]:
    """Where the names of a column's text are looked up when it is applied, by its table's schema.

    PostgreSQL's own, the table's, public, and those of the key's types, such as one for extensions. What runs
    later looks up in pg_catalog only: see `azpg_provision.sync.bound`.
    """
    types = [key.schema for key in keys if key.schema is not None]
    return [*dict.fromkeys(["pg_catalog", schema, "public", *types]), "pg_temp"]


def search_path(column: VectorColumn) -> sql.Composed:
    """`schemas`, as a setting."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in schemas(column.schema, column.keys))


@cache
def template(name: str) -> sql.SQL:
    """The file ``<name>.sql`` of this folder."""
    return sql.SQL(files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))


def safe(owner: sql.Composable) -> sql.Composed:
    """A condition on `schema`, a row of pg_namespace: whether nothing of others is found by name there.

    Args:
        owner: the id of the role that runs what looks them up.
    """
    nothing = sql.SQL("")
    return sql.SQL("NOT EXISTS ({}) AND NOT EXISTS ({})").format(
        _creators(owner, nothing), template("leftovers").format(owner=owner, who=nothing)
    )


def left_out(connection: Connection, column: VectorColumn, error: psycopg.Error) -> str:
    """Why a name was not found by what the table's owner wrote, and what to do; empty for any other error.

    What PostgreSQL says is that it does not exist. It does, in a schema that `safe` leaves out of the path.

    Args:
        connection: in no transaction that the error has ended.
        column: whose table has a trigger or a function that failed.
        error: what PostgreSQL said.
    """
    if error.sqlstate not in _NOT_FOUND:
        return ""
    owner_id = sql.SQL("owner.oid")
    creators = sql.SQL("{} UNION {}").format(
        _creators(owner_id, sql.SQL(_CREATOR)),
        template("leftovers").format(owner=owner_id, who=sql.SQL(_LEFT)),
    )
    query = template("left_out").format(
        schemas=sql.Literal(schemas(column.schema, column.keys)[:-1]),
        relation=sql.Literal(column.relation.as_string(connection)),
        creators=creators,
        message=sql.Literal(error.diag.message_primary or ""),
    )
    row = connection.execute(query).fetchone()
    if row is None:
        return ""
    name, schema, owner, creating, granted = row
    who = " and ".join("everybody" if one is None else repr(one) for one in creating)
    grantees = ", ".join("PUBLIC" if one is None else quoted(one) for one in granted or ())
    remedy = f", or REVOKE CREATE ON SCHEMA {quoted(schema)} FROM {grantees}" if grantees else ""
    return (
        f"there is {name} in the schema {schema!r}, but what the table's owner wrote, such as a trigger, "
        f"finds no names there, because {who} may create there, or has functions there, and could not act as "
        f"the role {owner!r}. "
        f"Write the schema before the name in that function{remedy}"
    )


def _creators(owner: sql.Composable, who: sql.Composable) -> sql.Composed:
    return template("creators").format(owner=owner, who=who)


def prepare(connection: Connection, column: VectorColumn) -> None:
    """Makes a session one of a worker for `column`; for another one, again. In autocommit."""
    settings = {"search_path": "pg_catalog, pg_temp", **FORMATS, **_WORKER, WORKER: column.secret}
    calls = [sql.SQL("pg_catalog.set_config({}, %s, false)").format(sql.Literal(name)) for name in settings]
    statement = sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls))
    connection.execute(statement, list(settings.values()))  # the secret is in no statement's text
