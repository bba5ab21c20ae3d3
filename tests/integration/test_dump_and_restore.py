"""A database with generated embeddings comes out of pg_dump and back, by the server admin alone."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.conftest import URI

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
TABLES = {
    "plain": "id",
    "parted": "id",
    "by_hand": "id",
}
SCHEMA = f"""
CREATE TABLE plain (
    id int PRIMARY KEY, body text,
    as_vector vector(384) GENERATED ALWAYS AS (azure_local_ai.create_embeddings('{URI}', body)::vector) STORED,
    as_array real[] GENERATED ALWAYS AS
        (CASE WHEN body <> '' THEN azure_local_ai.create_embeddings('{URI}', body) END) STORED);
CREATE INDEX by_distance ON plain USING hnsw (as_vector vector_cosine_ops);
CREATE TABLE parted (
    id int, body text,
    e vector(384) GENERATED ALWAYS AS (azure_local_ai.create_embeddings('{URI}', body)::vector) STORED)
    PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (5);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (5) TO (100);
CREATE TABLE by_hand (id int, v vector(384), r real[]);
CREATE VIEW nearest AS
    SELECT id FROM plain ORDER BY as_vector <=> azure_local_ai.create_embeddings('{URI}', 'a duck')::vector;
INSERT INTO plain (id, body) SELECT n, 'text number ' || n FROM generate_series(1, 20) AS n;
INSERT INTO plain (id, body) VALUES (21, NULL), (22, ''), (23, E'tab\\t, "quotes", \\\\ and 日本語');
INSERT INTO parted (id, body) SELECT n, 'part ' || n FROM generate_series(1, 10) AS n;
INSERT INTO by_hand SELECT id, as_vector, as_array FROM plain;
COMMENT ON COLUMN plain.as_vector IS 'what it is about';
"""


@pytest.fixture
def restored(twin: Instance) -> Iterator[str]:
    """The name of an empty database as CREATE DATABASE makes it."""
    name = f"restored_{uuid.uuid4().hex[:12]}"
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    yield name
    with twin.superuser() as superuser:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run(*command: str) -> None:
    """Runs a client program, which must have nothing to say."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def as_a_script(twin: Instance, source: str, target: str, folder: Path, to: Instance | None = None) -> None:
    """By the programs of the server that a database comes from, and of the one that it goes `to`."""
    script, to = str(folder / "dump.sql"), to or twin
    run(twin.program("pg_dump"), "--dbname", twin.dsn(source), "--file", script)
    restore(to, target, Path(script))


def restore(twin: Instance, database: str, script: Path) -> None:
    """Runs a dump's script in one transaction."""
    run(
        *(twin.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"),
        *("--single-transaction", "--dbname", twin.dsn(database), "--file", str(script)),
    )


def as_an_archive(twin: Instance, source: str, target: str, folder: Path, to: Instance | None = None) -> None:
    archive, to = str(folder / "dump"), to or twin
    run(twin.program("pg_dump"), "--format=custom", "--dbname", twin.dsn(source), "--file", archive)
    run(to.program("pg_restore"), "--exit-on-error", "--jobs=2", "--dbname", to.dsn(target), archive)


def contents(connection: Connection) -> dict[str, list[Any]]:
    """Every row of every table, and what the server says of the columns and indexes."""
    found = {
        table: connection.execute(
            sql.SQL("SELECT * FROM {} ORDER BY {}").format(sql.Identifier(table), sql.Identifier(key))
        ).fetchall()
        for table, key in TABLES.items()
    }
    found["nearest"] = connection.execute("SELECT * FROM nearest").fetchall()
    found["columns"] = connection.execute(
        "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attgenerated,"
        " pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)"
        " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND attnum > 0"
        " ORDER BY 1, attnum"
    ).fetchall()
    found["indexes"] = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    ).fetchall()
    found["extensions"] = connection.execute(
        "SELECT extname, extversion, extnamespace::regnamespace::text, extowner::regrole::text,"
        " obj_description(oid, 'pg_extension') FROM pg_extension ORDER BY 1"
    ).fetchall()
    return found


@pytest.mark.parametrize("way", [as_a_script, as_an_archive])
def test_round_trip(
    twin: Instance,
    connection: Connection,
    database: str,
    restored: str,
    tmp_path: Path,
    way: Callable[[Instance, str, str, Path], None],
) -> None:
    connection.execute(SCHEMA)
    way(twin, database, restored, tmp_path)
    before = contents(connection)
    with twin.connect(restored, autocommit=True) as other:
        assert contents(other) == before
        # The column goes on being generated.
        other.execute("INSERT INTO plain (id, body) VALUES (24, 'text number 1')")
        same = "SELECT count(DISTINCT as_array), count(*) FROM plain WHERE id IN (1, 24)"
        assert other.execute(same).fetchone() == (1, 2)
    assert sum(row[2] is not None for row in before["plain"]) == 22
    assert sum(row[3] is not None for row in before["plain"]) == 21


def test_into_a_server_that_does_not_know_the_model_yet(
    twin: Instance, connection: Connection, database: str, home: Home, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    archive = str(tmp_path / "dump")
    run(twin.program("pg_dump"), "--format=custom", "--dbname", twin.dsn(database), "--file", archive)
    new = Instance("new", home=home)
    new.up(Wishes(major=twin.description.major, durable=False))
    new.set_parameter("azure.extensions", "vector,azure_local_ai")
    with new.connect(autocommit=True) as admin:
        admin.execute("CREATE DATABASE first")
        admin.execute("CREATE DATABASE second")
    done = subprocess.run(
        [new.program("pg_restore"), "--exit-on-error", "--dbname", new.dsn("first"), archive],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f'model "{URI}" is not registered' in done.stderr
    way = re.search("HINT:  The model store has it; register it as azure_pg_admin: (SELECT .*;)", done.stderr)
    assert way is not None, done.stderr
    with new.connect("first", autocommit=True) as admin:
        admin.execute(way[1].encode())
    run(new.program("pg_restore"), "--exit-on-error", "--dbname", new.dsn("second"), archive)
    with new.connect("second") as admin:
        assert contents(admin) == contents(connection)
