"""Roles with less than the server admin, who log in by themselves and want to become one."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from azpg_runtime.postgres.instance import Instance

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Attacker:
    """A role that may log in, and nothing else."""

    twin: Instance
    name: str
    password: str

    @property
    def role(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    def connect(self, database: str) -> Connection:
        """As this role itself, so that there is no way back to who made it."""
        parts = conninfo_to_dict(self.twin.dsn(database))
        parts.pop("passfile", None)
        return psycopg.connect(
            **parts | {"user": self.name, "password": self.password}, autocommit=True, prepare_threshold=None
        )

    def is_admin(self) -> bool:
        with self.twin.superuser() as connection:
            row = connection.execute(
                "SELECT pg_has_role(%s, 'azure_pg_admin', 'MEMBER') OR rolsuper FROM pg_roles WHERE rolname = %s",
                [self.name, self.name],
            ).fetchone()
        assert row is not None
        return bool(row[0])

    @property
    def payload(self) -> str:
        """A function's body that makes it an admin with the rights of an admin, and says nothing otherwise."""
        return (
            "BEGIN EXECUTE 'GRANT azure_pg_admin TO {name}'; EXCEPTION WHEN OTHERS THEN NULL; END;".replace(
                "{name}", f'"{self.name}"'
            )
        )

    @property
    def escape(self) -> str:
        """The same, after leaving a role that was only set."""
        return (
            "BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;"
            "BEGIN EXECUTE 'SET SESSION AUTHORIZATION DEFAULT'; EXCEPTION WHEN OTHERS THEN NULL; END;"
            + self.payload
        )


@contextlib.contextmanager
def attacker(twin: Instance, database: str) -> Iterator[Attacker]:
    """A new role, which owns nothing afterwards."""
    one = Attacker(twin, f"eve_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex)
    with twin.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(one.role, sql.Literal(one.password))
        )
    try:
        yield one
    finally:
        with twin.superuser(database) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(one.role))
        with twin.superuser() as connection:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(one.role))
            connection.execute(sql.SQL("DROP ROLE {}").format(one.role))
