"""Which roles azpg trusts: those that could gain nothing from who is connected."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from azpg.azure.names import SUPERUSERS

_TRUSTED = """(
    {role}.rolsuper
    OR {role}.rolname OPERATOR(pg_catalog.=) {user}
    OR NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) {user})
       AND EXISTS (
           SELECT FROM pg_catalog.pg_roles AS admins
           WHERE admins.rolname OPERATOR(pg_catalog.=) 'azure_pg_admin' AND {service}
             AND pg_catalog.pg_has_role({user}, admins.oid, 'MEMBER')
             AND pg_catalog.pg_has_role({role}.oid, admins.oid, 'MEMBER')))
"""
# What is a superuser's runs with more than an admin has. Who has USAGE of a role has all that is its own.
_OWN = """(
    {role}.oid OPERATOR(pg_catalog.=) {owner}.oid
    OR {role}.rolsuper
    OR NOT {owner}.rolsuper AND {trusted}
    OR {members} AND pg_catalog.pg_has_role({role}.oid, {owner}.oid, 'USAGE'))
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


def trusted(role: str, user: LiteralString = "session_user") -> sql.Composed:
    """A condition: whether a role could gain nothing from who is connected.

    It is a superuser, the role that has logged in, or as much an admin of the server as that is (member of
    `azure_pg_admin`, on Azure and on the twin). That this one is a member of it says nothing: that is how an
    admin looks after a table's owner, who has less.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
        user: who counts as connected: ``current_user`` in a function that runs with its owner's rights.
    """
    return sql.SQL(_TRUSTED).format(role=sql.Identifier(role), user=sql.SQL(user), service=_service())


def own(
    role: str, owner: str, *, members: bool = False, user: LiteralString = "session_user"
) -> sql.Composed:
    """A condition: whether what a role owns may run with the rights of a table's owner.

    It is that owner, a superuser, or, unless the owner is a superuser, one of `trusted`. Of all that azpg
    judges this is the only rule: what a text, a key, or what is attached to a table may depend on.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
        owner: the scope of the owner's row.
        members: whether a role counts that has all rights of the owner, too, as its member: for what is
            judged once more each time before it runs. What is bound once would stay after the membership.
        user: as of `trusted`.
    """
    return sql.SQL(_OWN).format(
        role=sql.Identifier(role),
        owner=sql.Identifier(owner),
        members=sql.Literal(members),
        trusted=trusted(role, user),
    )


def administers(role: str) -> sql.Composed:
    """A condition: whether a role is an admin of the server, to a session that is no superuser's.

    Args:
        role: the scope in which a row of pg_roles goes by that name.
    """
    return sql.SQL(_ADMINISTERS).format(role=sql.Identifier(role), service=_service())


def _service() -> sql.Composed:
    return sql.SQL(_SERVICE).format(superusers=sql.Literal(list(SUPERUSERS)))
