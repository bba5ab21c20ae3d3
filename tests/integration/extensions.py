"""What the tests of extensions share: roles, allow-lists and extensions made for a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.instance import Instance

Connection = psycopg.Connection[Any]


@contextmanager
def new_role(
    twin: Instance, database: str, *, member_of: str = "", options: str = ""
) -> Iterator[Connection]:
    """A connection as a role of its own, which is gone afterwards with all that it owns."""
    role = sql.Identifier(f"role_{uuid.uuid4().hex[:12]}")
    with twin.superuser(database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(role, sql.SQL(options)))
        if member_of:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(member_of), role))
        connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
        connection.execute("""SET search_path = "$user", public""")
        try:
            yield connection
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


@contextmanager
def allow_listed(twin: Instance, names: str) -> Iterator[None]:
    """Another `azure.extensions` for a while."""
    before = twin.parameter("azure.extensions").value
    twin.set_parameter("azure.extensions", names)
    try:
        yield
    finally:
        twin.set_parameter("azure.extensions", before)


def extension_folder(twin: Instance) -> Path:
    """Where the control files and scripts of a twin's own prepared copy of PostgreSQL lie."""
    return Installation.open(twin.home.server.resolve()).share / "extension"


@contextmanager
def stand_in(twin: Instance, name: str, *, control: str = "", scripts: Mapping[str, str]) -> Iterator[None]:
    """An extension that the server carries for a while.

    Args:
        twin: the server, with a copy of PostgreSQL of its own (`private_twin`).
        name: that of a real extension, if it is to be allow-listed.
        control: further lines of the control file.
        scripts: the SQL for a version (`1.0`) or an update (`1.0--1.1`); the last one is the default.
    """
    folder = extension_folder(twin)
    newest = list(scripts)[-1].split("--")[-1]
    files = {f"{name}--{version}.sql": text for version, text in scripts.items()}
    files[f"{name}.control"] = f"default_version = '{newest}'\n{control}\n"
    for file, text in files.items():
        assert not (folder / file).exists()
        (folder / file).write_text(text)
    try:
        yield
    finally:
        for file in files:
            (folder / file).unlink()


def extensions(connection: Connection) -> dict[str, str]:
    """The version of each extension."""
    return dict(connection.execute("SELECT extname, extversion FROM pg_extension").fetchall())


def home_of(connection: Connection, extension: str) -> str | None:
    """The schema that an extension is in, None if it does not exist."""
    row = connection.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = %s", [extension]
    ).fetchone()
    return row and row[0]


def owner_of(connection: Connection, extension: str) -> str | None:
    """The role that an extension belongs to."""
    row = connection.execute(
        "SELECT extowner::regrole::text FROM pg_extension WHERE extname = %s", [extension]
    ).fetchone()
    return row and row[0]
