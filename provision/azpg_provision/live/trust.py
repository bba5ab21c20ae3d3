"""Which roles azpg trusts: those that could gain nothing from who is connected."""

from __future__ import annotations

from psycopg import sql

_TRUSTED = """(
    {role}.rolsuper
    OR {role}.rolname OPERATOR(pg_catalog.=) session_user
    OR NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user)
       AND EXISTS (
           SELECT FROM pg_catalog.pg_roles AS admins
           WHERE admins.rolname OPERATOR(pg_catalog.=) 'azure_pg_admin'
             AND pg_catalog.pg_has_role(session_user, admins.oid, 'MEMBER')
             AND pg_catalog.pg_has_role({role}.oid, admins.oid, 'MEMBER')))
"""


def trusted(role: str) -> sql.Composed:
    """A condition: whether a role could gain nothing from who is connected.

    It is a superuser, the role that has logged in, or as much an admin of the server as that is (member of
    `azure_pg_admin`). That this one is a member of it says nothing: that is how an admin looks after
    a table's owner, who has less.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
    """
    return sql.SQL(_TRUSTED).format(role=sql.Identifier(role))
