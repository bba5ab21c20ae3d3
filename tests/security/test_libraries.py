"""Nobody makes a server load a library from outside its own folder: it would run as the server's user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_runtime.postgres.instance import Instance, Wishes
from tests.conftest import new_home, remove_home
from tests.support.servers import Server

Connection = psycopg.Connection[Any]

# What a library does when it is loaded, before PostgreSQL has looked whether it is one of its own.
LIBRARY = """\
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
	int file = open("%s", O_WRONLY | O_CREAT, 0644);
	if (file >= 0)
		close(file);
}
"""


class Evil:
    """A library that leaves a mark where it is loaded, in a folder that everybody may read."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        marks = folder / "marks"
        marks.mkdir()
        marks.chmod(0o777)
        self.mark = marks / "loaded"
        self.path = folder / "evil.so"
        source = folder / "evil.c"
        source.write_text(LIBRARY % self.mark)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.path, source], check=True)
        self.path.chmod(0o755)

    def check_is_one(self) -> None:
        """That a process which does load it shows it."""
        subprocess.run(["/bin/true"], env={"LD_PRELOAD": str(self.path)}, check=True)
        assert self.mark.exists()
        self.mark.unlink()


@pytest.fixture(scope="module")
def evil() -> Iterator[Evil]:
    home = new_home()  # a folder that the server's user can reach
    try:
        home.create()
        evil = Evil(home.root)
        evil.check_is_one()
        yield evil
    finally:
        remove_home(home)


@pytest.fixture(scope="module")
def server(postgres_server: Server) -> Iterator[Instance]:
    """A server that decodes its log, where output plug-ins are loaded."""
    yield from started(postgres_server.wishes)


@pytest.fixture(scope="module")
def other_build() -> Iterator[Instance]:
    """18.4, which does not have `output_plugin_libraries` yet."""
    yield from started({"major": 18, "build": "pixeltable"})


def started(wishes: dict[str, Any]) -> Iterator[Instance]:
    home = new_home()
    try:
        twin = Instance("libraries", home=home)
        twin.up(Wishes(**wishes, durable=False))
        twin.set_parameter("wal_level", "logical")
        twin.restart()
        yield twin
    finally:
        remove_home(home)


SQL = (
    "SELECT pg_catalog.pg_create_logical_replication_slot('slot', {})",
    "SELECT pg_catalog.pg_create_logical_replication_slot('slot', {}, temporary => true)",
    "SELECT pg_catalog.pg_copy_logical_replication_slot('good', 'slot', false, {})",
    "LOAD {}",
    "CREATE FUNCTION public.evil() RETURNS integer LANGUAGE c AS {}, 'evil'",
)


def refused(connect: Callable[[], Connection], statement: sql.Composable) -> psycopg.Error:
    with connect() as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)
    return caught.value


def spellings(evil: Path, twin: Instance) -> list[str]:
    """Ways to name a library that lies elsewhere; a slot keeps 63 bytes of it."""
    name = evil.name
    with_ending, without = str(evil), str(evil.with_suffix(""))
    from_libraries = os.path.relpath(evil, twin.home.server.resolve() / "lib")
    from_data = os.path.relpath(evil, twin.home.data)
    return [
        with_ending,
        without,
        f"$libdir/{from_libraries}",
        from_data,
        f"./{from_data}",
        f"$ORIGIN/{name}",
        name,
    ]


def check_refuses(twin: Instance, evil: Evil) -> None:
    with twin.connect(autocommit=True) as admin:
        admin.execute("SELECT pg_catalog.pg_create_logical_replication_slot('good', 'pgoutput')")
    try:
        for path in spellings(evil.path, twin):
            for text in SQL:
                refused(lambda: twin.connect(autocommit=True), sql.SQL(text).format(path))
                assert not evil.mark.exists(), (path, text)
            replication = sql.SQL("CREATE_REPLICATION_SLOT slot LOGICAL {}").format(sql.Identifier(path))
            refused(lambda: twin.connect(autocommit=True, replication="database"), replication)
            assert not evil.mark.exists(), path
            # The superuser neither: what it loads, others can have made it load.
            refused(twin.superuser, sql.SQL("LOAD {}").format(path))
            assert not evil.mark.exists(), path
    finally:
        with twin.superuser() as superuser:
            superuser.execute("SELECT pg_catalog.pg_drop_replication_slot('good')")


@pytest.mark.every_major
def test_no_library_from_elsewhere_is_loaded(server: Instance, evil: Evil) -> None:
    check_refuses(server, evil)


def test_nor_by_the_other_build(other_build: Instance, evil: Evil) -> None:
    check_refuses(other_build, evil)


@pytest.mark.every_major
def test_the_refusal_says_why(server: Instance, evil: Evil) -> None:
    error = refused(server.superuser, sql.SQL("LOAD {}").format(str(evil.path)))
    assert error.sqlstate == "42501"
    assert error.diag.message_primary == (
        f'could not load library "{evil.path}": it is not one of this server\'s own'
    )


@pytest.mark.every_major
def test_the_servers_own_libraries_are_loaded(server: Instance) -> None:
    own = server.home.server.resolve()
    library = next(own.rglob("pgoutput.so"))
    with server.superuser() as superuser:
        superuser.execute("LOAD '$libdir/pgoutput'")
        superuser.execute(sql.SQL("LOAD {}").format(str(library)))
        superuser.execute(sql.SQL("LOAD {}").format(str(server.home.server / library.relative_to(own))))


@pytest.mark.parametrize(
    "name",
    ["archive_command", "archive_library", "restore_command", "jit_provider", "ssl_passphrase_command"],
)
def test_no_parameter_runs_or_loads_anything(server: Instance, name: str) -> None:
    with pytest.raises(Exception, match=name):
        server.set_parameter(name, "/bin/true")
