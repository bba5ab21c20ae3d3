"""Changes who may log in with a token of Microsoft Entra ID, and makes their roles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors, sql

from azpg_runtime.access_tokens import Trust
from azpg_runtime.errors import EntraError
from azpg_runtime.postgres.entra.access import Access, Principal
from azpg_runtime.postgres.roles import ADMIN_GROUP, is_reserved

Connect = Callable[[], psycopg.Connection[Any]]
_NAME_LIMIT = 63


class Entra:
    """Microsoft Entra authentication of one instance. Making the object touches nothing.

    Args:
        path: the file of `Access`.
        locked: holds the instance's lock.
        connect: makes connections of the superuser, or raises `InstanceNotRunning`.
        write_rules: writes PostgreSQL's rules of who may log in, for the roles that are named.
    """

    def __init__(
        self,
        path: Path,
        *,
        locked: Callable[[], AbstractContextManager[None]],
        connect: Connect,
        write_rules: Callable[[list[str]], None],
    ) -> None:
        self._path = path
        self._locked = locked
        self._connect = connect
        self._write_rules = write_rules

    def access(self) -> Access:
        """Who may log in how. Raises `EntraError` if that is damaged."""
        return Access.load(self._path)

    def administrators(self) -> list[Principal]:
        """The principals that are administrators, in the order in which they were added."""
        return list(self.access().administrators)

    def allow(self, *, password: bool, trust: Trust | None) -> None:
        """Says how people may log in through the TLS front, from the next login on.

        Args:
            password: whether with passwords.
            trust: whose tokens are taken; None for no tokens.

        Raises:
            EntraError: neither is allowed.
        """
        if trust is None and not password:
            raise EntraError(
                "a server without any way to log in is not possible.",
                hint="Enable password authentication, Microsoft Entra authentication or both.",
            )
        with self._locked():
            replace(self.access(), password=password, trust=trust).save(self._path)

    def add(self, principal: Principal) -> None:
        """Makes a principal a role and an administrator; one that is the same already is left alone.

        Raises:
            EntraError: the name cannot be a role's or means somebody else, or only passwords are allowed.
            InstanceNotRunning: roles can be made in a running server only.
        """
        _check_name(principal.name)
        with self._locked():
            access = self.access()
            if access.trust is None:
                raise EntraError(
                    "Microsoft Entra authentication is not enabled on this server.",
                    hint="Enable it (authConfig.activeDirectoryAuth), then add administrators.",
                )
            _check_is_new(principal, access)
            with self._connect() as connection:
                if not _is_ours(principal.name, access) and _exists(connection, principal.name):
                    raise EntraError(
                        f"there is a role {principal.name!r} that is no Microsoft Entra principal.",
                        hint="Drop or rename that role, or add the principal by another name.",
                    )
                known = {each.object_id: each for each in access.administrators}
                known[principal.object_id] = principal
                former = tuple(name for name in access.former if name != principal.name)
                access = replace(access, administrators=tuple(known.values()), former=former)
                # Kept before it is done: what a killed command leaves undone the next start does.
                access.save(self._path)
                _create_role(connection, principal)
            self._apply(access)

    def remove(self, object_id: str) -> bool:
        """Ends a principal's sessions and drops its role. Returns False if it was no administrator.

        A role that owns something stays, without login; whoever dropped it would destroy what it owns.

        Raises `InstanceNotRunning`.
        """
        with self._locked():
            access = self.access()
            gone = [each for each in access.administrators if each.object_id == object_id]
            if not gone:
                return False
            (name,) = (each.name for each in gone)
            kept = tuple(each for each in access.administrators if each.object_id != object_id)
            with self._connect() as connection:
                access = replace(access, administrators=kept, former=(*access.former, name))
                access.save(self._path)
                if _drop_role(connection, name):
                    access = replace(access, former=tuple(each for each in access.former if each != name))
                    access.save(self._path)
            self._apply(access)
            return True

    def complete(self, connection: psycopg.Connection[Any]) -> None:
        """At a start, as the superuser and under the lock: does what killed commands left undone."""
        access = self.access()
        for principal in access.administrators:
            _create_role(connection, principal)
        former = tuple(name for name in access.former if not _drop_role(connection, name))
        if former != access.former:
            replace(access, former=former).save(self._path)

    def _apply(self, access: Access) -> None:
        """Lets PostgreSQL know the roles. It reads its rules before it serves whoever connects next."""
        self._write_rules([principal.name for principal in access.administrators])
        with self._connect() as connection:
            connection.execute("SELECT pg_reload_conf()")


def _create_role(connection: psycopg.Connection[Any], principal: Principal) -> None:
    """Makes a principal's role or brings it up to date, as the superuser."""
    name = sql.Identifier(principal.name)
    verb = sql.SQL("ALTER" if _exists(connection, principal.name) else "CREATE")
    with connection.transaction():
        connection.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER INHERIT CREATEDB CREATEROLE REPLICATION PASSWORD NULL"
            ).format(verb, name)
        )
        connection.execute(
            sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(sql.Identifier(ADMIN_GROUP), name)
        )


def _drop_role(connection: psycopg.Connection[Any], name: str) -> bool:
    """Drops a role, or at least keeps it from logging in: then the result is False."""
    if not _exists(connection, name):
        return True
    role, group = sql.Identifier(name), sql.Identifier(ADMIN_GROUP)
    connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
    try:
        with connection.transaction():
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(group, role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))
    except errors.DependentObjectsStillExist:
        return False
    return True


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone() is not None


def _is_ours(name: str, access: Access) -> bool:
    """Whether a role of this name was made here."""
    return name in access.former or access.principal(name.encode()) is not None


def _check_is_new(principal: Principal, access: Access) -> None:
    for other in access.administrators:
        if (other.object_id == principal.object_id) != (other.name == principal.name):
            raise EntraError(
                f"the administrator {other.name!r} has the object id {other.object_id}.",
                hint="Remove that administrator first, or add this one by its own name and object id.",
            )


def _check_name(name: str) -> None:
    """Raises `EntraError` for a name that cannot be a principal's role."""
    if not name or not name.isprintable() or name != name.strip():
        problem = "use printable characters, and no space first or last"
    elif len(name.encode()) > _NAME_LIMIT:
        problem = f"a role's name has at most {_NAME_LIMIT} bytes"
    elif is_reserved(name):
        problem = "the name is reserved, as are those that begin with pg_ or azure_"
    elif name.startswith("/"):
        problem = "PostgreSQL takes what begins with / for a pattern"
    else:
        return
    raise EntraError(
        f"{name[:_NAME_LIMIT]!r} cannot be an administrator's name: {problem}.",
        hint="Give the principal another display name.",
    )
