"""Who may use what azpg makes in schema azpg: its owner, whatever default privileges say of new things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from azpg_provision.target.target import Connection

_ACL = """
SELECT {acl} AS acl, {owner} AS owner FROM pg_catalog.{catalog}
WHERE oid OPERATOR(pg_catalog.=) {name}::pg_catalog.{type}
"""
_CATALOGS = {
    "SCHEMA": {"acl": "nspacl", "owner": "nspowner", "catalog": "pg_namespace", "type": "regnamespace"},
    "TABLE": {"acl": "relacl", "owner": "relowner", "catalog": "pg_class", "type": "regclass"},
    "FUNCTION": {"acl": "proacl", "owner": "proowner", "catalog": "pg_proc", "type": "regprocedure"},
}
_NAMES = """
SELECT role.rolname::pg_catalog.text
FROM ({}) AS made (acl, owner)
CROSS JOIN pg_catalog.aclexplode(made.acl) AS acl
JOIN pg_catalog.pg_roles AS role ON role.oid OPERATOR(pg_catalog.=) acl.grantee
WHERE acl.grantee OPERATOR(pg_catalog.<>) made.owner
GROUP BY role.rolname
"""

_GRANTING = int.from_bytes(b"azpggrnt", "big")
"""The lock of those who change who may use schema azpg."""


def granting(connection: Connection) -> None:
    """Waits, in a transaction, until nobody else changes who may use schema azpg, and keeps others waiting.

    PostgreSQL fails one of two who grant on a schema at the same time: "tuple concurrently updated".
    """
    connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s::pg_catalog.int8)", [_GRANTING])


@contextmanager
def creating(connection: Connection, owner: str) -> Iterator[None]:
    """A transaction in which a role may create in schema azpg; afterwards it may see it, and no more.

    Nobody but this session sees that it may create there: it may not any more when that is committed.
    """
    role = sql.Identifier(owner)
    query = (
        "SELECT nspowner::pg_catalog.regrole OPERATOR(pg_catalog.=) pg_catalog.to_regrole("
        "pg_catalog.quote_ident(%s)) FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'azpg'"
    )
    own = connection.execute(query, [owner]).fetchone() == (True,)
    with connection.transaction():
        if not own:
            granting(connection)
            connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA azpg TO {}").format(role))
        yield
        if not own:
            connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA azpg FROM {}").format(role))


def give(connection: Connection, owner: str, kind: str, name: sql.Composable) -> None:
    """Gives what was made in schema azpg to a role that may create there; arguments as of `close`."""
    statement = sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), name, sql.Identifier(owner))
    connection.execute(statement)


def close(connection: Connection, kind: str, name: sql.Composable) -> None:
    """Revokes everything from everybody but the owner.

    ALTER DEFAULT PRIVILEGES can have opened what was just made to any role: then it could hang a trigger
    function, which runs with its owner's rights, on a table of its own.

    Args:
        connection: of the owner, or a member of it.
        kind: ``SCHEMA``, ``TABLE`` (a sequence, too) or ``FUNCTION``.
        name: qualified; a function's with its argument types.
    """
    text = sql.Literal(name.as_string(connection))
    words = {key: sql.SQL(word) for key, word in _CATALOGS[kind].items()}
    query = sql.SQL(_NAMES).format(sql.SQL(_ACL).format(name=text, **words))
    grantees: list[sql.Composable] = [sql.Identifier(one) for (one,) in connection.execute(query).fetchall()]
    for grantee in [sql.SQL("PUBLIC"), *grantees]:
        statement = sql.SQL("REVOKE ALL ON {} {} FROM {} CASCADE")
        connection.execute(statement.format(sql.SQL(kind), name, grantee))
