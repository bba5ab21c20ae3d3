"""The locale names of Azure in SQL, on a machine that may lack them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.support.servers import Server

pytestmark = pytest.mark.every_major
Connection = psycopg.Connection[Any]
SORTED = ["A", "B", "Z", "a", "b", "é"]


def installed(name: str) -> bool:
    """Whether this machine's C library has a locale."""
    done = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False)
    return name.lower() in done.stdout.lower().split()


@pytest.fixture
def admin(twin: Instance) -> Iterator[Connection]:
    with twin.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def made(twin: Instance) -> Iterator[Callable[..., Connection]]:
    """Makes a database of options and opens a connection to it; it is dropped afterwards."""
    opened: list[Connection] = []

    def make(options: str, notices: list[str] | None = None) -> Connection:
        name = f"t_{uuid.uuid4().hex[:12]}"
        with twin.connect(autocommit=True) as connection:
            if notices is not None:
                connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
            connection.execute(f"CREATE DATABASE {name} {options}")
        opened.append(twin.connect(name, autocommit=True, client_encoding="UTF8"))
        return opened[-1]

    yield make
    for connection in opened:
        name = sql.Identifier(connection.info.dbname)
        connection.close()
        with twin.superuser() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def in_order(connection: Connection, collation: str = "") -> list[str]:
    query = f"SELECT t FROM unnest(ARRAY['b', 'A', 'é', 'Z', 'a', 'B']) AS t ORDER BY t {collation}"
    return [text for (text,) in connection.execute(query).fetchall()]


@pytest.mark.parametrize(
    "options",
    [
        # What people write on Azure, what its portal's scripts have, and what pg_dump -C writes of a server there.
        "ENCODING 'UTF8' LC_COLLATE 'en_US.utf8' LC_CTYPE 'en_US.utf8' TEMPLATE template0",
        "WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.utf8'",
        "WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'en_US.UTF-8'",
        "LC_COLLATE 'en_US.utf8'",
        "LOCALE 'en_US.UTF8'",
    ],
)
def test_databases_of_azures_locale(made: Callable[..., Connection], options: str) -> None:
    notices: list[str] = []
    if installed("en_US.utf8"):  # then it is the real one, which sorts as on Azure
        options = options if "template0" in options else f"{options} TEMPLATE template0"
        assert in_order(made(options, notices)) == ["a", "A", "b", "B", "é", "Z"]
        assert notices == []
        return
    connection = made(options, notices)
    name = next(one for one in ("en_US.utf8", "en_US.UTF-8", "en_US.UTF8") if f"'{one}'" in options)
    assert notices == [f'locale "{name}" is not installed on this machine; "C.UTF-8" stands for it']
    assert in_order(connection) == SORTED
    assert connection.execute("SELECT upper('é')").fetchone() == ("É",)
    row = connection.execute(
        "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert row == ("UTF8", "C.UTF-8")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
@pytest.mark.parametrize("locale", ["LC_COLLATE 'C' LC_CTYPE 'C'", "LOCALE 'C'"])
def test_databases_of_other_encodings(made: Callable[..., Connection], encoding: str, locale: str) -> None:
    """On Azure the provider is libc, for which C goes with any encoding."""
    connection = made(f"ENCODING '{encoding}' {locale} TEMPLATE template0")
    assert connection.execute("SHOW server_encoding").fetchone() == (encoding,)
    row = connection.execute(
        "SELECT datlocprovider, datcollate, datctype FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert row == ("c", "C", "C")


def test_a_locale_of_c_is_that_of_the_c_library(made: Callable[..., Connection]) -> None:
    connection = made("LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    assert connection.execute("SELECT upper('é')").fetchone() == ("é",)  # as on Azure
    assert in_order(connection) == SORTED


@pytest.mark.parametrize(
    "options",
    [
        "LC_COLLATE 'xx_YY.utf8'",
        "LC_CTYPE 'xx_YY.utf8'",
        "LOCALE 'xx_YY.utf8'",
        "LOCALE_PROVIDER libc LOCALE 'xx_YY.utf8'",
    ],
)
def test_a_locale_that_is_not_there(admin: Connection, options: str) -> None:
    with pytest.raises(errors.WrongObjectType) as caught:
        admin.execute(f"CREATE DATABASE never TEMPLATE template0 {options}")
    said = caught.value.diag
    assert said.message_primary == 'locale "xx_YY.utf8" is not installed on this machine'
    assert said.message_detail == ('"en_US.utf8", "C.UTF-8", "C" and what "locale -a" lists can be used.')
    assert said.message_hint == (
        'Where it is needed, install it in the operating system, then "azpg restart".'
    )


def test_what_postgres_says_by_itself(admin: Connection) -> None:
    for options, said in (
        ("ENCODING 'LATIN1' TEMPLATE template0", "does not match locale"),
        ("ENCODING 'LATIN1' LOCALE 'en_US.utf8' TEMPLATE template0", "does not match locale"),
        ("LC_COLLATE 'C'", "new collation"),
        ("LOCALE_PROVIDER icu ICU_LOCALE 'no-such' LOCALE 'xx' TEMPLATE template0", "ICU is not|invalid"),
        ("LOCALE 'C' LOCALE 'C'", "conflicting or redundant options"),
        ("LC_COLLATE DEFAULT TEMPLATE nowhere", "does not exist"),
    ):
        with pytest.raises(psycopg.Error, match=said):
            admin.execute(f"CREATE DATABASE never {options}")
    admin.execute("BEGIN")
    with pytest.raises(errors.ActiveSqlTransaction):
        admin.execute("CREATE DATABASE never LOCALE 'en_US.utf8' TEMPLATE template0")
    with pytest.raises(errors.InFailedSqlTransaction):
        admin.execute("CREATE DATABASE never LOCALE 'en_US.utf8' TEMPLATE template0")
    admin.execute("ROLLBACK")


@pytest.mark.parametrize("name", ["en_US", "en_US.utf8"])
@pytest.mark.parametrize("template", ["template0", "template1"])
def test_the_collations_of_azure(made: Callable[..., Connection], name: str, template: str) -> None:
    connection = made(f"TEMPLATE {template}")
    if not installed("en_US.utf8"):
        assert in_order(connection, f'COLLATE "{name}"') == SORTED
    connection.execute(f'CREATE TABLE t (a text COLLATE pg_catalog."{name}" UNIQUE)')
    connection.execute("INSERT INTO t VALUES ('é'), ('a')")
    connection.execute(f'CREATE COLLATION mine FROM "{name}"')
    connection.execute("CREATE COLLATION other (locale = 'en_US.utf8', provider = libc)")
    connection.execute("CREATE COLLATION third (lc_collate = 'en_US.utf8', lc_ctype = 'en_US.utf8')")
    assert connection.execute("SELECT max(a COLLATE mine), max(a COLLATE other) FROM t").fetchone() == (
        "é",
        "é",
    )


def test_a_dump_names_them_and_does_not_make_them(twin: Instance, made: Callable[..., Connection]) -> None:
    source, target = made(""), made("TEMPLATE template0")
    source.execute("CREATE TABLE t (a text COLLATE \"en_US.utf8\"); INSERT INTO t VALUES ('é'), ('Z')")
    done = subprocess.run(
        [twin.program("pg_dump"), "--create", "--dbname", twin.dsn(source.info.dbname)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'COLLATE pg_catalog."en_US.utf8"' in done.stdout
    assert "CREATE COLLATION" not in done.stdout
    script = done.stdout.replace(source.info.dbname, "renamed")
    start = script.index("\\connect")
    done = subprocess.run(
        [twin.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", twin.dsn(target.info.dbname)],
        input=script[script.index("\n", start) :],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert target.execute("SELECT a FROM t ORDER BY a").fetchall() == [("Z",), ("é",)]


def test_existing_databases_get_them_and_the_roles_with_up(home: Home, postgres_server: Server) -> None:
    """A home that an earlier azpg made has neither the collations nor the grants."""
    instance = Instance("older", home=home)
    instance.up(Wishes(**postgres_server.wishes, durable=False))
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE DATABASE theirs")
        connection.execute(
            "CREATE DATABASE latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        connection.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    databases = ("theirs", "postgres", "template1", "azure_maintenance")
    for name in databases:
        with instance.superuser(name) as superuser:
            for collation in ("en_US", "en_US.utf8"):
                superuser.execute(
                    sql.SQL("DROP COLLATION {}").format(sql.Identifier("pg_catalog", collation))
                )
    with instance.superuser() as superuser:
        superuser.execute("REVOKE pg_monitor, pg_read_all_data FROM azure_pg_admin CASCADE")
        superuser.execute("REVOKE SET ON PARAMETER session_replication_role FROM azure_pg_admin")
    assert not instance.up(Wishes(durable=False))
    for name in databases:
        with instance.superuser(name) as superuser:
            assert in_order(superuser, 'COLLATE "en_US.utf8"') == SORTED
    with instance.connect() as connection:
        connection.execute("SET session_replication_role = replica")
        row = connection.execute(
            "SELECT pg_has_role('azure_pg_admin', 'pg_monitor', 'USAGE'),"
            " (SELECT datallowconn FROM pg_database WHERE datname = 'template0')"
        ).fetchone()
        assert row == (True, False)


def test_a_database_that_cannot_be_opened_gets_them_when_it_can(home: Home, postgres_server: Server) -> None:
    instance = Instance("hurt", home=home)
    instance.up(Wishes(**postgres_server.wishes, durable=False))
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE DATABASE hurt")
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = 'hurt'").fetchone()
        assert row is not None
    for name in ("hurt", "azure_maintenance"):
        with instance.superuser(name) as superuser:
            superuser.execute('DROP COLLATION pg_catalog."en_US.utf8"')
    folder, aside = instance.home.data / "base" / str(row[0]), home.root / "aside"
    instance.down()
    folder.rename(aside)
    assert instance.up(Wishes(durable=False))
    instance.down()
    aside.rename(folder)
    assert instance.up(Wishes(durable=False))
    with instance.superuser("hurt") as superuser:
        assert in_order(superuser, 'COLLATE "en_US.utf8"') == SORTED
