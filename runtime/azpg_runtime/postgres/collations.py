"""Collations that every database on Azure has, where this machine's C library lacks them.

Scripts and dumps say ``COLLATE "en_US.utf8"``. Where initdb did not find that locale, a collation of its name
sorts by code point, as the local databases do. It is made in pg_catalog, so that pg_dump leaves it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import sql

from azpg_runtime.postgres.roles import MAINTENANCE

NAMES = ("en_US", "en_US.utf8")
"""As initdb names the locale that databases on Azure have."""

Connect = Callable[[str], AbstractContextManager[psycopg.Connection[Any]]]
_BUILTIN_SINCE = 170000
_MISSING = """
    SELECT name FROM pg_catalog.unnest(%s::text[]) AS name
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_collation
        WHERE collname = name AND collnamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND collencoding IN (-1, pg_catalog.pg_char_to_encoding('UTF8')))
"""
_DATABASES = """
    SELECT datname FROM pg_catalog.pg_database
    WHERE datname <> %s AND pg_catalog.pg_encoding_to_char(encoding) = 'UTF8'
        AND (datallowconn OR datname = 'template0') AND datconnlimit <> -2
"""


def create_collations(connect: Connect) -> None:
    """Makes them in every database that can use them and be opened, the templates included, once.

    Args:
        connect: opens the superuser's connection to a database, in autocommit.
    """
    with connect(MAINTENANCE) as connection:
        if not _missing(connection):
            return
        everywhere = True
        for (name,) in connection.execute(_DATABASES, [MAINTENANCE]).fetchall():
            if name == "template0":
                _in_template0(connection, connect)
            else:
                everywhere &= _in_database(name, connect)
        if everywhere:
            _create(connection)  # the last: that they are here says so; otherwise the next start tries again


def _in_template0(connection: psycopg.Connection[Any], connect: Connect) -> None:
    """Databases of another locale are copied from it; otherwise nobody may connect."""
    connection.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    try:
        with connect("template0") as there:
            _create(there)
    finally:
        connection.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS false")


def _in_database(name: str, connect: Connect) -> bool:
    """False if the database cannot be opened: it was dropped meanwhile, or is damaged."""
    try:
        with connect(name) as there:
            _create(there)
    except psycopg.OperationalError:
        return False
    return True


def _missing(connection: psycopg.Connection[Any]) -> list[str]:
    return [name for (name,) in connection.execute(_MISSING, [list(NAMES)]).fetchall()]


def _create(connection: psycopg.Connection[Any]) -> None:
    provider = "builtin" if connection.info.server_version >= _BUILTIN_SINCE else "libc"
    for name in _missing(connection):
        collation = sql.Identifier("pg_catalog", name)
        connection.execute(
            sql.SQL("CREATE COLLATION {} (PROVIDER = {}, LOCALE = 'C.UTF-8')").format(
                collation, sql.SQL(provider)
            )
        )
        connection.execute(
            sql.SQL("COMMENT ON COLLATION {} IS {}").format(
                collation, sql.Literal("stands in for Azure's; sorts by code point")
            )
        )
