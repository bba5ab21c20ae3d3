"""The hook that a project fills its template database with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    import pytest


def pytest_azpg_template(connection: psycopg.Connection[Any], dsn: str, config: pytest.Config) -> None:
    """Put tables and data into the database that the tests' own are copied from.

    It is called once in a run, whatever the number of workers, before the first test that has such a
    database. In the conftest.py of a folder it counts for the tests below that folder, and finds what those
    of the outer folders made. An implementation names those arguments that it needs.

    Args:
        connection: the server admin's, in autocommit; the extensions are there.
        dsn: a libpq URI of the same database, for migration tools.
        config: pytest's.
    """
