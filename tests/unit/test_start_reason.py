"""Why a server did not start, or could not be made, found in what it and initdb wrote."""

from __future__ import annotations

import pytest

from azpg_runtime.postgres.cluster import reason, reason_of_initdb

PG_CTL = "pg_ctl: could not start server\nExamine the log output.\n"


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", "It said nothing"),
        (PG_CTL, "It said nothing"),
        (
            "2026-11-21 10:00:00.000 UTC [1] FATAL:  could not map anonymous shared memory: Cannot allocate memory\n"
            "2026-11-21 10:00:00.000 UTC [1] HINT:  This error usually means much.\n" + PG_CTL,
            "could not map anonymous shared memory: Cannot allocate memory",
        ),
        (
            'postgres: "superuser_reserved_connections" (3) must be less than "max_connections" (2)\n'
            + PG_CTL,
            '"superuser_reserved_connections" (3) must be less than "max_connections" (2)',
        ),
        (
            '2026 [1] LOG:  invalid value for parameter "wal_level": "most"\n'
            "2026 [1] HINT:  Available values: minimal, replica, logical.\n"
            '2026 [1] FATAL:  configuration file "/x/postgresql.conf" contains errors\n' + PG_CTL,
            'invalid value for parameter "wal_level": "most"',
        ),
        (
            '2026 [1] FATAL:  configuration file "/x/postgresql.conf" contains errors\n',
            'configuration file "/x/postgresql.conf" contains errors',
        ),
    ],
)
def test_the_reason_of_a_failed_start(log: str, found: str) -> None:
    assert reason(log) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", "It said nothing"),
        (
            '2026 [1] FATAL:  could not write to file "base/5/2840_vm": No space left on device\n'
            "2026 [1] STATEMENT:  CREATE DATABASE postgres OID = 5 STRATEGY = file_copy;\n"
            "\t\n"
            "child process exited with exit code 1\n"
            'initdb: removing contents of data directory "/x"\n',
            'could not write to file "base/5/2840_vm": No space left on device',
        ),
        (
            'initdb: error: could not create directory "/x": Permission denied\n'
            'initdb: removing contents of data directory "/x"\n',
            'could not create directory "/x": Permission denied',
        ),
        (
            'initdb: error: directory "/x" exists but is not empty\n'
            "initdb: hint: If you want to create a new database system, do something.\n",
            'directory "/x" exists but is not empty',
        ),
    ],
)
def test_the_reason_of_a_failed_initdb(said: str, found: str) -> None:
    assert reason_of_initdb(said) == found
