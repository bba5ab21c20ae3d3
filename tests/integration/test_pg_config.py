"""A PostgreSQL that somebody brings: the bundled ones as if they were foreign, and Debian's where it is installed."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.bundled import bundled, find
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.postgres.pgconfig import PgConfig
from tests.conftest import MODEL, URI
from tests.support.servers import obstacle

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("1[5-8]/bin/pg_config"))
SOURCES = Path(str(files("azpg_runtime") / "shim"))
DEBIAN = [path for path in INSTALLED if not obstacle(path)]


def pg_config(major: int) -> Path:
    """That of a bundled server."""
    original = bundled(find(major))
    return original.root / original.bin / "pg_config"


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def imitation(folder: Path, **answers: str) -> Path:
    """A pg_config that says what it is told to."""
    (folder / "bin").mkdir()
    (folder / "bin" / "postgres").touch()
    said = {
        "bindir": str(folder / "bin"),
        "pkglibdir": str(folder / "lib"),
        "sharedir": str(folder / "share"),
        "includedir-server": str(folder / "include"),
        "pgxs": str(folder / "pgxs.mk"),
        "version": "PostgreSQL 17.4",
    } | {name.replace("_", "-"): value for name, value in answers.items()}
    cases = "".join(f"--{name}) echo '{value}';;\n" for name, value in said.items())
    return script(folder / "pg_config", f'case "$1" in\n{cases}esac')


@pytest.mark.parametrize(
    "path",
    [pg_config(16), pg_config(18), *DEBIAN],
    ids=["bundled16", "bundled18", *(f"debian{path.parts[-3]}" for path in DEBIAN)],
)
def test_a_server_that_was_brought_embeds(home: Home, minilm: StoredModel, path: Path) -> None:
    major = PgConfig.ask(path).major
    instance = Instance("brought", home=home)
    said: list[str] = []
    instance.up(Wishes(pg_config=str(path), durable=False), say=said.append)
    assert instance.status().postgres_version.startswith(f"{major}.")
    instance.set_parameter("azure.extensions", "azure_local_ai,vector")
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [URI, MODEL])
        row = connection.execute("SELECT azure_local_ai.create_embeddings(%s, 'x')", [URI]).fetchone()
        assert row is not None
        assert len(row[0]) == 384
        has_vector = (PgConfig.ask(path).share / "extension" / "vector.control").is_file()
        assert has_vector is not any("no pgvector" in line for line in said)
        if has_vector:
            connection.execute("CREATE EXTENSION vector")
        else:
            with pytest.raises(psycopg.errors.Error, match='"vector"'):
                connection.execute("CREATE EXTENSION vector")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="is not allow-listed"):
            connection.execute("CREATE EXTENSION pg_trgm")
    instance.down()
    assert instance.up() is True
    with pytest.raises(InstanceError, match=f"has major {major}; it cannot become"):
        instance.up(Wishes(major=34 - major))


def test_another_major_cannot_be_brought_later(home: Home) -> None:
    instance = Instance("fixed", home=home)
    instance.up(Wishes(durable=False))
    instance.down()
    with pytest.raises(InstanceError, match=r"has PostgreSQL 18; .* is that of 16"):
        instance.up(Wishes(pg_config=str(pg_config(16))))


def test_a_pg_config_and_another_major_at_once(home: Home) -> None:
    with pytest.raises(InstanceError, match=r"has PostgreSQL 18; .* is that of 16"):
        Instance("both", home=home).up(Wishes(pg_config=str(pg_config(16)), major=18))


def test_a_server_can_be_stopped_after_its_original_is_gone(home: Home, tmp_path: Path) -> None:
    link = tmp_path / "pg_config"
    script(link, f'exec {pg_config(16)} "$@"')
    instance = Instance("orphan", home=home)
    instance.up(Wishes(pg_config=str(link), durable=False))
    link.unlink()
    with pytest.raises(InstanceError, match="is no pg_config: No such file or directory"):
        instance.restart()
    assert instance.status().state == "running"
    assert instance.up() is False
    assert instance.down() is True
    with pytest.raises(InstanceError, match="is no pg_config: No such file or directory"):
        instance.up()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 0", "it does not know --bindir"),
        ("exit 3", "it does not know --bindir"),
        ("echo /x", "it calls its version '/x'"),
    ],
)
def test_what_is_no_pg_config(tmp_path: Path, text: str, why: str) -> None:
    path = script(tmp_path / "pg_config", text)
    with pytest.raises(InstanceError) as caught:
        PgConfig.ask(path)
    assert caught.value.message == f"{path} is no pg_config: {why}."
    assert caught.value.hint == "Name that of the server, such as /usr/lib/postgresql/15/bin/pg_config."


@pytest.mark.parametrize("name", ["missing", "", "a\0b"])
def test_a_pg_config_that_cannot_be_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(InstanceError, match="is no pg_config"):
        PgConfig.ask(tmp_path / name)


@pytest.mark.parametrize("version", ["PostgreSQL 14.9", "PostgreSQL 19devel"])
def test_a_version_that_cannot_be_used(tmp_path: Path, version: str) -> None:
    with pytest.raises(InstanceError, match=f"{version} cannot be used. Use PostgreSQL 15 to 18."):
        PgConfig.ask(imitation(tmp_path, version=version))


def test_a_client_without_a_server(tmp_path: Path) -> None:
    path = imitation(tmp_path)
    (tmp_path / "bin" / "postgres").unlink()
    with pytest.raises(InstanceError, match=r"PostgreSQL 17.4 has no server: .*install postgresql-17"):
        PgConfig.ask(path)


def test_everything_that_is_missing_is_named_at_once(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = PgConfig.ask(imitation(tmp_path))
    for folder in ("lib", "share"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InstanceError) as caught:
        brought.original(home)
    assert caught.value.message == (
        "the extensions cannot be built for PostgreSQL 17.4; missing: make, a C compiler (cc), "
        f"the server's headers ({tmp_path}/include/postgres.h), PGXS ({tmp_path}/pgxs.mk)."
    )
    assert caught.value.hint == "On Debian and Ubuntu, install make, gcc and postgresql-server-dev-17."


def test_what_is_installed_later_gets_into_a_new_copy_with_what_was_built_before(
    home: Home, tmp_path: Path
) -> None:
    for folder in ("include", "lib", "share"):
        (tmp_path / folder).mkdir()
    (tmp_path / "include" / "postgres.h").touch()
    (tmp_path / "pgxs.mk").write_text(  # of a server with LLVM, which is not needed here
        "with_llvm = yes\n$(MODULE_big).so:\n\ttest $(with_llvm) = no && touch $@\n"
        ".DEFAULT_GOAL := $(MODULE_big).so\n"
    )
    extension = tmp_path / "share" / "extension"
    extension.mkdir(parents=True)
    brought = PgConfig.ask(imitation(tmp_path))
    copies = [brought.original(home)]
    (tmp_path / "include" / "postgres.h").unlink()  # and with it what is needed to build them again
    assert brought.original(home) == copies[0]
    for name in ("lib/vector.so", "share/extension/vector.control"):
        (tmp_path / name).touch()
        copies.append(brought.original(home))
    os.utime(extension / "vector.control", ns=(1, 1))
    copies.append(brought.original(home))
    (tmp_path / "lib" / "removed.so").symlink_to("nowhere")
    copies.append(brought.original(home))
    assert len({copy.key for copy in copies}) == 5
    assert len({copy.extensions for copy in copies}) == 1


def test_a_build_that_fails_says_what_the_compiler_said(home: Home, tmp_path: Path) -> None:
    path = imitation(tmp_path)
    for folder in ("include", "lib", "share"):
        (tmp_path / folder).mkdir()
    (tmp_path / "include" / "postgres.h").write_text("#error no headers\n")
    (tmp_path / "pgxs.mk").write_text(
        "$(MODULE_big).so: $(OBJS)\n\t$(CC) -shared -o $@ $^\n%.o: %.c\n"
        f"\t$(CC) -I{tmp_path}/include -c -o $@ $<\n.DEFAULT_GOAL := $(MODULE_big).so\n"
    )
    with pytest.raises(InstanceError, match=r"azure_local_ai could not be built for PostgreSQL 17.4"):
        PgConfig.ask(path).original(home)
    assert [entry.name for entry in home.server.iterdir()] == []
