"""The roles of a Flexible Server, and the server admin among them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from azpg.azure.names import NAME_LIMIT, RESERVED_ROLES, is_reserved_role
from azpg.errors import UsageError

SUPERUSER = "azuresu"
ADMIN_GROUP = "azure_pg_admin"
MAINTENANCE = "azure_maintenance"
"""The database that belongs to the superuser alone: in any other, the admin decides what names mean."""
SAFE_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "search_path=pg_catalog,pg_temp",
        "session_preload_libraries=",
        "local_preload_libraries=",
        "default_transaction_read_only=off",
        "statement_timeout=0",
        "role=none",
        "pg_stat_statements.track=none",  # it would show password verifiers, and is about others' statements
    )
)
"""Start-up options of the superuser's own connections; they outrank what ALTER DATABASE sets."""
DEFAULT_ADMIN = "pgadmin"


def is_reserved(name: str) -> bool:
    """Whether people cannot have a role of this name: Azure's own rule, and all that begins with azure_.

    So do the roles of the service, which the twin's server keeps people from making.
    """
    return is_reserved_role(name) or name.lower().startswith("azure_")


def check_admin_name(name: str, *, exists: bool = False) -> None:
    """Raises `UsageError` for a name that Azure would not take for the server admin.

    Args:
        name: the role's.
        exists: whether there is one already: an earlier azpg took reserved names in upper case.
    """
    reserved = is_reserved(name) and not (exists and name != name.lower())
    if not name or len(name.encode()) > NAME_LIMIT or reserved:
        raise UsageError(
            f"{name!r} cannot be the server admin: use 1 to {NAME_LIMIT} bytes, not one of "
            f"{', '.join(sorted(RESERVED_ROLES))}, and nothing that begins with pg_ or azure_"
        )
    if not name.isprintable():
        raise UsageError("the server admin's name has characters that cannot be printed")


def create_maintenance_database(connection: psycopg.Connection[Any]) -> None:
    """Makes the superuser's own database, before anybody else can connect; in autocommit."""
    name = sql.Identifier(MAINTENANCE)
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


def create_roles(connection: psycopg.Connection[Any], *, admin: str, password: str) -> None:
    """Makes the roles or brings them up to date, as the superuser.

    The password is hashed here, so that not even the server's log could show it.
    """
    statements = (files("azpg_runtime.postgres") / "sql" / "roles.sql").read_text()
    verifier = connection.pgconn.encrypt_password(password.encode(), admin.encode(), b"scram-sha-256")
    with connection.transaction():
        connection.execute(statements)
        exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [admin]).fetchone()
        connection.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER INHERIT CREATEDB CREATEROLE REPLICATION PASSWORD {}"
            ).format(
                sql.SQL("CREATE" if exists is None else "ALTER"),
                sql.Identifier(admin),
                verifier.decode("ascii"),
            )
        )
        connection.execute(
            sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(
                sql.Identifier(ADMIN_GROUP), sql.Identifier(admin)
            )
        )
