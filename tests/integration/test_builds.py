"""The two bundled PostgreSQL 18: data go from one to the other, and dumps between them and 16."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.testing import TwinFactory
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.integration.extensions import extensions
from tests.integration.test_dump_and_restore import (
    SCHEMA,
    as_a_script,
    as_an_archive,
    contents,
    restore,
    run,
)

Connection = psycopg.Connection[Any]
OLDER, NEWER = "18.4", "18.6"
PROVIDERS = ("builtin", "libc")
WORDS = """
CREATE TABLE words (word text PRIMARY KEY, v vector(3));
INSERT INTO words SELECT md5(n::text) || chr(190 + n % 300), ARRAY[n, n + 1, n + 2]::real[]::vector
    FROM generate_series(1, 500) AS n;
CREATE INDEX by_lists ON words USING ivfflat (v vector_l2_ops) WITH (lists = 5);
CREATE INDEX by_graph ON words USING hnsw (v vector_l2_ops);
"""


def fill(instance: Instance) -> None:
    """What people have on a server: roles, parameters, extensions, vectors, by both collation providers."""
    instance.set_parameter("azure.extensions", "vector,azure_local_ai")
    instance.set_parameter("work_mem", "12345")
    instance.set_parameter("shared_preload_libraries", "pg_cron,pg_stat_statements,age")
    with instance.connect(autocommit=True) as connection:
        connection.execute("""
            CREATE ROLE app LOGIN PASSWORD 'of their own';
            CREATE ROLE readers;
            GRANT readers TO app;
            ALTER ROLE app SET work_mem = '3MB';
        """)
        for provider in PROVIDERS:
            connection.execute(
                f"CREATE DATABASE by_{provider} TEMPLATE template0 LOCALE_PROVIDER {provider} LOCALE 'C.UTF-8'"
            )
    for provider in PROVIDERS:
        with instance.connect(f"by_{provider}", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
            if provider == PROVIDERS[0]:
                connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
            connection.execute(SCHEMA)
            connection.execute(WORDS)
            connection.execute("GRANT SELECT ON words TO readers")


def found(instance: Instance) -> dict[str, Any]:
    """All of that, as it is read back."""
    said: dict[str, Any] = {"parameters": {}, "roles": []}
    for name in ("azure.extensions", "work_mem", "shared_preload_libraries"):
        said["parameters"][name] = instance.parameter(name).value
    with instance.connect() as connection:
        said["roles"] = connection.execute(
            "SELECT rolname, rolcanlogin, rolconfig, pg_has_role(oid, 'readers', 'member') FROM pg_roles"
            " WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1"
        ).fetchall()
    for provider in PROVIDERS:
        with instance.connect(f"by_{provider}") as connection:
            connection.execute("SET enable_seqscan = off")
            nearest = "SELECT word FROM words ORDER BY v <-> '[7, 8, 9]' LIMIT 3"
            said[provider] = {
                **contents(connection),
                "sorted": connection.execute("SELECT * FROM words ORDER BY word").fetchall(),
                "nearest": connection.execute(nearest).fetchall(),
                "privileges": connection.execute(
                    "SELECT has_table_privilege('app', 'words', 'SELECT')"
                ).fetchall(),
            }
    return said


def check_newer(instance: Instance) -> None:
    """That a server that has come from 18.4 does what one of 18.6 does."""
    assert instance.status().postgres_version == NEWER
    own = {"user": "app", "password": "of their own"}
    with psycopg.connect(instance.dsn("by_libc", with_password=True), **own) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("3MB",)
        assert connection.execute("SELECT count(*) FROM words").fetchone() == (500,)
    instance.set_parameter("azure.extensions", "vector,azure_local_ai,pg_trgm,amcheck")
    for provider in PROVIDERS:
        with instance.superuser(f"by_{provider}") as superuser:
            superuser.execute("CREATE EXTENSION amcheck SCHEMA public")
            checked = superuser.execute(
                "SELECT public.bt_index_check(c.oid, true) FROM pg_class AS c JOIN pg_am AS a ON a.oid = relam"
                " WHERE amname = 'btree' AND relpersistence = 'p' AND relkind = 'i'"
            ).fetchall()
            assert len(checked) > 100
            mismatch = superuser.execute(
                "SELECT datname FROM pg_database"
                " WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) AND datallowconn"
            ).fetchall()
            assert mismatch == []
        with instance.connect(f"by_{provider}", autocommit=True) as connection:
            connection.execute("INSERT INTO plain (id, body) VALUES (100, 'text number 1')")
            same = "SELECT count(DISTINCT as_array) FROM plain WHERE id IN (1, 100)"
            assert connection.execute(same).fetchone() == (1,)
            connection.execute("DELETE FROM plain WHERE id = 100")
            connection.execute("CREATE EXTENSION pg_trgm")
            assert extensions(connection)["vector"] == "0.8.5"
            connection.execute("ALTER EXTENSION vector UPDATE")
            assert extensions(connection)["vector"] == "0.8.6"
            connection.execute("REINDEX INDEX by_lists; REINDEX INDEX by_graph")


@pytest.fixture
def older(home: Home, minilm: StoredModel) -> Instance:
    """A running 18.4 with data, as azpg made it before it had another 18: it knows nothing of builds."""
    instance = Instance(home=home)
    instance.up(Wishes(build="pixeltable", durable=False))
    path = instance.home.description
    description = json.loads(path.read_text())
    assert description.pop("build") == "pixeltable"
    path.write_text(json.dumps(description))
    fill(instance)
    return instance


def test_a_running_server_is_left_alone_and_moved_by_a_restart(older: Instance) -> None:
    before = found(older)
    assert older.up() is False
    assert older.status().postgres_version == OLDER
    assert older.status().outdated == ["PostgreSQL"]
    assert set(older.status().not_loaded) == {"age", "pg_cron", "pg_stat_statements"}
    older.restart()
    assert found(older) == before
    assert set(older.status().not_loaded) == {"age", "pg_cron"}
    check_newer(older)
    assert older.status().outdated == []


def test_a_killed_server_recovers_under_the_other(older: Instance) -> None:
    with older.connect("by_libc", autocommit=True) as connection:
        # Whose commit takes those before it to the log, which 18.6 will have to replay.
        connection.execute("SET synchronous_commit = on; CREATE TABLE last (n int)")
    before = found(older)
    pid = older.status().postgres_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: older.status().postgres_pid is None, timeout=10)
    assert older.up(Wishes(durable=False)) is True
    assert found(older) == before
    check_newer(older)


def test_a_build_is_chosen_for_good(home: Home) -> None:
    instance = Instance("chosen", home=home)
    instance.up(Wishes(build="pixeltable", durable=False))
    assert instance.status().postgres_version == OLDER
    instance.restart()
    assert instance.status().postgres_version == OLDER
    instance.down()
    instance.up(Wishes(durable=False))
    assert instance.status().postgres_version == OLDER
    assert instance.psql() == instance.program("psql")
    assert instance.up(Wishes(build="embedded", durable=False)) is False
    assert instance.status().outdated == ["PostgreSQL"]
    assert instance.status().postgres_version == OLDER
    instance.restart()
    assert instance.status().postgres_version == NEWER
    assert instance.psql() != instance.program("psql"), "18.6 has one without line editing"


# Dumps


@pytest.fixture(scope="module")
def builds(azpg_twin_factory: TwinFactory, minilm: StoredModel, worker_id: str) -> dict[str, Instance]:
    """A running twin of each build."""
    assert minilm.name is not None
    wanted = {"16": (16, None), OLDER: (18, "pixeltable"), NEWER: (18, "embedded")}
    return {
        version: azpg_twin_factory(
            f"dumps-{version.replace('.', '-')}-{worker_id}",
            postgres=major,
            build=build,
            models=[minilm.name],
        )
        for version, (major, build) in wanted.items()
    }


@pytest.fixture
def database_of(builds: dict[str, Instance]) -> Iterator[Any]:
    """Makes databases, on any of them, as CREATE DATABASE does."""
    made: list[tuple[Instance, str]] = []

    def make(twin: Instance) -> str:
        name = f"t_{uuid.uuid4().hex[:12]}"
        with twin.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        made.append((twin, name))
        return name

    yield make
    for twin, name in made:
        with twin.superuser() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def listed(twin: Instance, database: str) -> list[tuple[Any, ...]]:
    """What ``\\dx`` shows but versions, which are each server's own."""
    with twin.connect(database) as connection:
        return connection.execute(
            "SELECT extname, extnamespace::regnamespace::text, extowner::regrole::text,"
            " obj_description(oid, 'pg_extension') FROM pg_extension ORDER BY 1"
        ).fetchall()


def versionless(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Contents without the versions of extensions."""
    return found | {"extensions": [(name, *rest) for name, _, *rest in found["extensions"]]}


@pytest.mark.parametrize("way", [as_a_script, as_an_archive])
@pytest.mark.parametrize(("old", "new"), [(OLDER, NEWER), (NEWER, OLDER), ("16", NEWER), ("16", OLDER)])
def test_a_dump_of_one_is_restored_into_another(
    builds: dict[str, Instance], database_of: Any, tmp_path: Path, old: str, new: str, way: Any
) -> None:
    source, target = builds[old], builds[new]
    first, second = database_of(source), database_of(target)
    with source.connect(first, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
        connection.execute(SCHEMA)
        before = contents(connection)
    way(source, first, second, tmp_path, to=target)
    with target.connect(second) as connection:
        after = contents(connection)
    assert versionless(after) == versionless(before)
    assert listed(source, first) == listed(target, second)
    assert {row[0] for row in listed(target, second)} == {"azure_local_ai", "plpgsql", "vector"}


@pytest.mark.parametrize("old", [OLDER, NEWER])
def test_a_dump_goes_back_to_an_older_major_without_the_one_setting_that_it_does_not_know(
    builds: dict[str, Instance], database_of: Any, tmp_path: Path, old: str
) -> None:
    """PostgreSQL promises nothing here; pg_dump of 17 and later sets what 16 has not."""
    source, target = builds[old], builds["16"]
    first, second = database_of(source), database_of(target)
    with source.connect(first, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
        connection.execute(SCHEMA)
        before = contents(connection)
    script = tmp_path / "dump.sql"
    run(source.program("pg_dump"), "--dbname", source.dsn(first), "--file", str(script))
    lines = script.read_text().splitlines(keepends=True)
    known = [line for line in lines if line != "SET transaction_timeout = 0;\n"]
    assert len(known) == len(lines) - 1
    script.write_text("".join(known))
    restore(target, second, script)
    with target.connect(second) as connection:
        assert versionless(contents(connection)) == versionless(before)
    assert listed(source, first) == listed(target, second)


def test_a_dump_with_contrib_goes_from_one_server_to_another_of_its_kind(
    builds: dict[str, Instance], database_of: Any, tmp_path: Path
) -> None:
    twin = builds[NEWER]
    names = (
        "vector,azure_local_ai,pg_trgm,citext,hstore,postgres_fdw,dblink,pg_buffercache,pg_stat_statements"
    )
    twin.set_parameter("azure.extensions", names)
    first, second = database_of(twin), database_of(twin)
    with twin.connect(first, autocommit=True) as connection:
        for name in names.split(","):
            connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))
        connection.execute("""
            CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', dbname 'x');
            CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (user 'x', password 'y');
            CREATE TABLE mixed (e citext PRIMARY KEY, h hstore, body text);
            CREATE INDEX ON mixed USING gin (body gin_trgm_ops);
            INSERT INTO mixed VALUES ('A', 'a=>1', 'body');
        """)
    for way in (as_a_script, as_an_archive):
        way(twin, first, second, tmp_path)
        with twin.connect(second, autocommit=True) as connection:
            assert connection.execute("SELECT e, h -> 'a', body FROM mixed WHERE e = 'a'").fetchall() == [
                ("A", "1", "body")
            ]
            assert connection.execute("SELECT srvname FROM pg_foreign_server").fetchall() == [("other",)]
        assert listed(twin, first) == listed(twin, second)
        second = database_of(twin)
