"""Which roles azpg trusts: those that could gain nothing from who is connected."""

from __future__ import annotations

from psycopg import sql

from azpg.azure.names import SUPERUSERS

_TRUSTED = """(
    {role}.rolsuper
    OR {role}.rolname OPERATOR(pg_catalog.=) session_user
    OR NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user)
       AND EXISTS (
           SELECT FROM pg_catalog.pg_roles AS admins
           WHERE admins.rolname OPERATOR(pg_catalog.=) 'azure_pg_admin' AND {service}
             AND pg_catalog.pg_has_role(session_user, admins.oid, 'MEMBER')
             AND pg_catalog.pg_has_role({role}.oid, admins.oid, 'MEMBER')))
"""
# Whether azure_pg_admin is the service's: elsewhere any CREATEROLE can make it. Only superusers make
# superusers, and the service's own, which made azure_pg_admin, has one of these names (`azpg.azure.names`).
_SERVICE = """EXISTS (
    SELECT FROM pg_catalog.pg_roles AS service
    WHERE service.rolsuper
      AND service.rolname OPERATOR(pg_catalog.=) ANY ({superusers}::pg_catalog.name[]))
"""
# A superuser alone is more than an admin.
_ADMINISTERS = """(
    NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user)
    AND {service}
    AND EXISTS (
        SELECT FROM pg_catalog.pg_roles AS admins
        WHERE admins.rolname OPERATOR(pg_catalog.=) 'azure_pg_admin'
          AND pg_catalog.pg_has_role({role}.oid, admins.oid, 'MEMBER')))
"""


def trusted(role: str) -> sql.Composed:
    """A condition: whether a role could gain nothing from who is connected.

    It is a superuser, the role that has logged in, or as much an admin of the server as that is (member of
    `azure_pg_admin`, on Azure and on the twin). That this one is a member of it says nothing: that is how an
    admin looks after a table's owner, who has less.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
    """
    return sql.SQL(_TRUSTED).format(role=sql.Identifier(role), service=_service())


def administers(role: str) -> sql.Composed:
    """A condition: whether a role is an admin of the server, to a session that is no superuser's.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
    """
    return sql.SQL(_ADMINISTERS).format(role=sql.Identifier(role), service=_service())


def _service() -> sql.Composed:
    return sql.SQL(_SERVICE).format(superusers=sql.Literal(list(SUPERUSERS)))
