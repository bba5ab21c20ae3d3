"""Whether what goes by the name of azure_local_ai in a database is the extension, before any of it is called.

Its functions are called by their names, with the rights of who runs azpg. Where the extension is not in a
database, or not any more, whoever may create a schema there can make one of that name, with such functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from psycopg import errors, sql

from azpg_provision.errors import ExtensionMismatch
from azpg_provision.live.trust import trusted
from azpg_provision.spec.model import LOCAL_AI
from azpg_provision.target.target import Connection

FUNCTIONS = ("create_embeddings", "get_setting", "model_metadata", "model_register", "set_setting")
"""Those that azpg calls."""
_MAKE = (
    f"list it under `extensions` in the spec and run `azpg apply`, or CREATE EXTENSION {LOCAL_AI} in that "
    "database"
)
_SCHEMA, _FUNCTION, _CREATOR = 1, 2, 3
"""Of local_ai.sql: what is somebody's whom not to trust."""


def require(connection: Connection) -> None:
    """Raises `ExtensionMismatch` unless azure_local_ai's functions are the extension's.

    Nothing but catalogues is read. In a transaction that holds until its end: the extension cannot be
    dropped meanwhile. It is a superuser's, or belongs to a role that could gain nothing from who is connected
    (`azpg_provision.live.trust.trusted`), and nobody else may create in its schema.

    Args:
        connection: in the transaction in which they are to be called.
    """
    try:
        row = connection.execute(_query()).fetchone()
    except errors.UndefinedObject:  # it was dropped a moment ago
        row = (False, False, None, None, None, None, None)
    assert row is not None
    there, schema, its, owner, kind, function, role = row
    place = f"the database {connection.info.dbname!r}"
    if schema and not (there and its):
        missing = "" if there else f" The extension is not there. After that, {_MAKE}."
        raise ExtensionMismatch(
            f"{place} has a schema {LOCAL_AI} that is not the extension's, but belongs to the role "
            f"{owner!r}, so that nothing in it is called: look who made it, and drop or rename it.{missing}"
        )
    if not schema:
        raise ExtensionMismatch(f"{place} does not have the extension {LOCAL_AI}: {_MAKE}.")
    if kind == _SCHEMA:
        raise ExtensionMismatch(
            f"schema {LOCAL_AI} of {place} belongs to the role {role!r}, which is no admin of this server as "
            f"who logs in is, so that nothing in it is called: DROP EXTENSION {LOCAL_AI}, and {_MAKE}."
        )
    if kind == _FUNCTION:
        raise ExtensionMismatch(
            f"{function} of {place} belongs to the role {role!r}, and could take the place of one of the "
            "extension's, so that none is called: look what it is, and drop it."
        )
    if kind == _CREATOR:
        raise ExtensionMismatch(
            f"the role {role or 'PUBLIC'} may create things in schema {LOCAL_AI} of {place}, where they "
            "could take the place of the extension's, so that nothing in it is called: look through it, and "
            f"REVOKE CREATE ON SCHEMA {LOCAL_AI}."
        )


def model_metadata(connection: Connection, uri: str) -> Mapping[str, Any]:
    """What the extension knows of a model.

    Raises `ExtensionMismatch`, and psycopg's `UndefinedObject` for a model that is not registered, which ends
    no transaction of the caller's.
    """
    with connection.transaction():
        require(connection)
        row = connection.execute("SELECT azure_local_ai.model_metadata(%s)", [uri]).fetchone()
    assert row is not None
    found: Mapping[str, Any] = row[0] or {}
    return found


@cache
def _query() -> bytes:
    text = files(__package__).joinpath("local_ai.sql").read_text(encoding="utf-8")
    query = sql.SQL(text).format(
        name=sql.Literal(LOCAL_AI), trusted=trusted("role"), functions=sql.Literal(list(FUNCTIONS))
    )
    return query.as_bytes()
