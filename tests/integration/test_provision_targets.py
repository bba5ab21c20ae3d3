"""The twin and plain connections as targets: what they can, what they say, and that no secret shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from azpg.errors import AzpgError
from azpg.extensions import normalise
from azpg_provision.errors import PlanRefused, TargetUnreachable
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.planning import plan
from azpg_provision.spec.secret import Secret
from azpg_provision.target.dsn import DsnTarget
from azpg_provision.target.local import LocalTarget
from azpg_runtime import Twin
from azpg_runtime.home import Home
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.extensions import allow_listed
from tests.integration.provisioning import HEAD, TABLE, Site, kinds

PATIENCE = 60.0


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    yield site
    site.drop()


def dsn(twin: Instance, database: str = "postgres") -> Secret:
    return Secret(twin.dsn(database, with_password=True, tcp=True))


def password(twin: Instance) -> str:
    found = urlsplit(twin.dsn(with_password=True, tcp=True)).password
    assert found
    return found


# A plain connection


def test_a_spec_through_a_plain_connection(site: Site) -> None:
    target = DsnTarget(dsn(site.twin), source="env:SHOP")
    assert target.name == f"env:SHOP (127.0.0.1:{site.twin.description.port})"
    spec = site.spec(HEAD + TABLE)
    site.apply(spec)
    assert plan(spec, inspect(target, spec)).changes == ()


def test_what_a_plain_connection_cannot_do_is_asked_for(site: Site) -> None:
    target = DsnTarget(dsn(site.twin))
    spec = site.spec(HEAD)
    with (
        allow_listed(site.twin, "vector"),
        pytest.raises(
            PlanRefused,
            match=r"azure_local_ai must be allow-listed, which a plain connection cannot do: set the server parameter azure.extensions to vector,azure_local_ai, or name the server itself",
        ),
    ):
        plan(spec, inspect(target, spec))
    for act in (lambda: target.set_list("azure.extensions", ["vector"]), target.restart):
        with pytest.raises(
            PlanRefused,
            match=r"is a plain connection, which cannot .*: do that in the portal or with `az postgres",
        ):
            act()
    assert target.allowed_values("azure.extensions") is None
    assert not target.pending_restart("shared_preload_libraries")
    with pytest.raises(PlanRefused, match="unrecognized configuration parameter"):
        target.parameter("no.such")


def test_what_needs_preloading_and_cannot_be_seen_is_a_note(site: Site) -> None:
    """By a role that may not see all settings, which the server admin may."""
    spec = site.spec(HEAD.replace("version: 1", "version: 1\nserver: {preload: [pgaudit]}"))
    role = "azpg_unseeing"
    there = urlsplit(site.twin.dsn(tcp=True))
    there = there._replace(netloc=f"{role}:{role}@{there.hostname}:{there.port}", query="sslmode=disable")
    with site.twin.superuser() as superuser:
        name, password = sql.Identifier(role), sql.Literal(role)
        superuser.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password))
        try:
            found = plan(spec, inspect(DsnTarget(Secret(there.geturl())), spec))
        finally:
            superuser.execute(sql.SQL("DROP ROLE {}").format(name))
    assert found.notes == (
        f"shared_preload_libraries cannot be seen on dsn (127.0.0.1:{site.twin.description.port}); it must hold pgaudit.",
    )


def test_no_password_is_shown(site: Site) -> None:
    secret = password(site.twin)
    with pytest.raises(TargetUnreachable) as caught:
        DsnTarget(dsn(site.twin)).connect("no such database")
    said = [str(caught.value), repr(dsn(site.twin)), str(dsn(site.twin))]
    wrong = site.twin.dsn(with_password=True, tcp=True).replace(secret, "hunter2hunter2")
    with pytest.raises(TargetUnreachable, match="password authentication failed") as refused:
        DsnTarget(Secret(wrong)).connect()
    with pytest.raises(TargetUnreachable, match="the connection string is none: use a URI such as") as none:
        DsnTarget(Secret("hunter2 is no dsn"))
    said += [str(refused.value), str(none.value)]
    assert not any(secret in one or "hunter2" in one for one in said), said


def test_a_server_that_is_not_there(twin: Instance) -> None:
    with pytest.raises(
        TargetUnreachable,
        match=r"dsn \(127.0.0.1:1\), database 'postgres': .*refused.* Check the connection string and that the server is up\.",
    ):
        DsnTarget(Secret("postgresql://a@127.0.0.1:1/postgres")).connect()


# The twin


def test_a_twin_that_is_not_there(twin: Instance, home: Home) -> None:
    with pytest.raises(AzpgError, match="there is no instance 'nobody'"):
        LocalTarget(Twin("nobody", home=home)).connect()


LIMITS = (
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
)


def test_limits_that_are_meant_for_others_end_no_session_and_no_batch(site: Site) -> None:
    site.apply(site.spec())
    with site.connect() as connection:
        for limit in LIMITS:
            statement = sql.SQL("ALTER DATABASE {} SET {} = '1s'")
            connection.execute(statement.format(sql.Identifier(site.name), sql.Identifier(limit)))
    for target in (site.target, DsnTarget(dsn(site.twin, site.name))):
        for autocommit in (True, False):
            with target.connect(site.name, autocommit=autocommit) as session:
                for limit in LIMITS:
                    row = session.execute("SELECT current_setting(%s)", [limit]).fetchone()
                    assert row == ("0",), limit


SLEEPER = """
import sys
from azpg_provision.spec.secret import Secret
from azpg_provision.target.dsn import DsnTarget

DsnTarget(Secret(sys.argv[1])).connect().execute("SELECT pg_sleep(600)")
"""


def test_a_process_that_is_killed_leaves_no_statement_behind(twin: Instance, database: str) -> None:
    """Else what it has begun, such as the building of an index, goes on for nobody."""
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query = 'SELECT pg_sleep(600)'"

    def asleep() -> int:
        row = connection.execute(sleeping, [database]).fetchone()
        return int(row[0]) if row else 0

    with twin.connect(autocommit=True) as connection:
        process = subprocess.Popen([sys.executable, "-c", SLEEPER, twin.dsn(database)])
        try:
            assert wait_for(lambda: asleep() == 1, timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        assert wait_for(lambda: asleep() == 0, timeout=PATIENCE)


def test_sessions_say_whose_they_are_and_look_names_up_where_they_should(twin: Instance) -> None:
    with LocalTarget(twin).connect() as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("azpg",)
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog,pg_temp",)
    with DsnTarget(dsn(twin)).connect() as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog,pg_temp",)


def test_what_is_not_offered_any_more(home: Home, site: Site) -> None:
    """azure_local_ai was retired; the twin of another profile says what a server of today does."""
    from azpg_runtime.postgres.description import Wishes  # noqa: PLC0415

    today = Twin("today", home=home)
    today.up(Wishes(major=18, profile="azure-2026"))
    spec = site.spec(HEAD)
    with pytest.raises(
        PlanRefused,
        match=r"this server does not offer azure_local_ai, which was retired on 2025-03-21: use azure_ai with Azure OpenAI embeddings on this server, or a local twin",
    ):
        plan(spec, inspect(LocalTarget(today), spec))


def test_the_allow_list_is_added_to(site: Site) -> None:
    with allow_listed(site.twin, "pgcrypto,vector"):
        site.apply(site.spec(HEAD))
        assert site.twin.parameter("azure.extensions").value == "pgcrypto,vector,azure_local_ai"


def test_a_library_that_the_server_lacks_is_not_left_behind(site: Site) -> None:
    before = site.twin.parameter("shared_preload_libraries").value
    lacks = r"pgaudit (is )?not loaded: this PostgreSQL 18 lacks it"
    with pytest.raises(PlanRefused, match=lacks):
        site.plan(site.spec(HEAD.replace("version: 1", "version: 1\nserver: {preload: [pgaudit]}")))
    with pytest.raises(PlanRefused, match=lacks):
        site.target.set_list("shared_preload_libraries", [*normalise(before), "pgaudit"])
    assert site.twin.parameter("shared_preload_libraries").value == before


def test_a_model_that_the_store_lacks_is_said_before_anything_is_done(site: Site) -> None:
    spec = site.spec(HEAD.replace(URI, "multilingual-e5-base:v1"))
    with pytest.raises(
        PlanRefused,
        match=r"the model multilingual-e5-base:v1 cannot be registered: the store has no model 'multilingual-e5-base'\. ",
    ):
        site.plan(spec)


def test_a_model_that_another_database_has_registered_is_not_counted(site: Site, database: str) -> None:
    """Nor where no database has azure_local_ai any more: models belong to the server."""
    assert "create model" not in kinds(site.plan(site.spec(HEAD)))
    with site.twin.superuser() as superuser:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
        try:
            assert "create model" not in kinds(site.plan(site.spec(HEAD)))
        finally:
            superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def test_a_plain_connection_finds_models_by_another_database(site: Site, database: str) -> None:
    """Where nothing but azure_local_ai can say which there are."""
    spec = site.spec(HEAD)
    found = plan(spec, inspect(DsnTarget(dsn(site.twin)), spec))
    assert "create database" in kinds(found)
    assert "create model" not in kinds(found)


def test_somebody_elses_database_that_tells_nothing_of_models(site: Site, database: str) -> None:
    with site.twin.superuser(database) as superuser:
        superuser.execute("REVOKE ALL ON FUNCTION azure_local_ai.get_setting(text[], integer) FROM PUBLIC")
    assert "create database" in kinds(site.plan(site.spec(HEAD)))


def test_what_only_azure_has_is_noted(site: Site) -> None:
    """A spec for both can be applied to the twin, and nobody looks in vain afterwards."""
    server = "version: 1\nserver: {allow: [postgis], preload: [pg_cron]}"
    first, second = site.plan(site.spec(HEAD.replace("version: 1", server))).notes
    assert first == (
        f"local {site.twin.name} does not have the extension postgis: allow-listed or not, CREATE EXTENSION "
        "does not find it."
    )
    assert second.startswith(
        f"pg_cron is in shared_preload_libraries of local {site.twin.name}, and not loaded: this PostgreSQL "
    )


def test_a_restart_in_the_middle_of_an_apply(site: Site) -> None:
    libraries = Installation.open(site.twin.home.server.resolve()).lib
    library = libraries / "auto_explain.so"
    shutil.copy(libraries / "utf8_and_win.so", library)  # any that does nothing when it is loaded
    try:
        spec = site.spec(
            (HEAD + TABLE).replace("version: 1", "version: 1\nserver: {preload: [auto_explain]}")
        )
        assert kinds(site.plan(spec))[:2] == ["create preloaded_library", "update restart"]
        with pytest.raises(
            PlanRefused,
            match=r"this plan restarts local .*, which ends every session: repeat it with --allow-restart",
        ):
            site.apply(spec)
        site.apply(spec, restart=True)
        assert site.plan(spec).changes == ()
        assert "auto_explain" in site.twin.parameter("shared_preload_libraries").value
        # One that was killed between the two: the value is there, and the restart is not.
        site.twin.reset_parameter("shared_preload_libraries")
        site.twin.restart()
        before = site.twin.parameter("shared_preload_libraries").value
        site.twin.set_parameter("shared_preload_libraries", f"{before},auto_explain")
        assert kinds(site.plan(spec)) == ["update restart"]
        site.apply(spec, restart=True)
        assert site.plan(spec).changes == ()
    finally:
        site.twin.reset_parameter("shared_preload_libraries")
        site.twin.restart()
        library.unlink()
