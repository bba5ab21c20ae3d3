"""One apply at a time, also where the lock's database is out of reach for a while, or for good."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from azpg_provision.apply.apply import Permission, apply
from azpg_provision.apply.lock import locked
from azpg_provision.errors import ApplyFailed
from azpg_provision.plan.change import Change
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.planning import plan
from azpg_provision.spec.secret import Secret
from azpg_provision.target.dsn import DsnTarget
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.provisioning import HEAD, Site, Told

PATIENCE = 60.0


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    site.apply(site.spec(HEAD, None))
    yield site
    site.drop()


@pytest.fixture
def target(site: Site) -> DsnTarget:
    """By a connection string that leads to the site's own database."""
    return DsnTarget(Secret(site.twin.dsn(site.name, with_password=True, tcp=True)))


@contextmanager
def changed(twin: Instance, statement: str, back: str) -> Iterator[Callable[[], None]]:
    """Does statements as the superuser; yields what takes them back, which is done in any case."""

    def execute(one: str) -> None:
        with twin.superuser() as connection:
            connection.execute(sql.SQL(one))

    execute(statement)
    try:
        yield lambda: execute(back)
    finally:
        execute(back)


def full(twin: Instance) -> Callable[..., object]:
    return changed(
        twin, "ALTER DATABASE postgres CONNECTION LIMIT 0", "ALTER DATABASE postgres CONNECTION LIMIT -1"
    )


def test_two_applies_while_the_locks_database_takes_no_session(site: Site, target: DsnTarget) -> None:
    """The second one waits for the first, instead of taking another lock."""
    spec = site.spec(HEAD + "  init: [init.sql]\n", "SELECT 1")
    confirmed = plan(spec, inspect(target, spec))
    told: queue.Queue[str] = queue.Queue()
    inside, go_on, second = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        def begin(change: Change) -> None:
            inside.set()
            assert go_on.wait(PATIENCE)

        apply(target, spec, confirmed, Permission(), Told(begin))

    def another() -> None:
        with locked(target, told.put):
            second.set()

    with ThreadPoolExecutor(2) as pool:
        try:
            one = pool.submit(first)
            assert inside.wait(PATIENCE)
            with full(site.twin) as free:
                other = pool.submit(another)
                said = told.get(timeout=PATIENCE)
                assert said.startswith(
                    "Waiting for the database postgres, in which applies are kept apart: dsn"
                )
                assert "too many connections" in said
                free()
                assert told.get(timeout=PATIENCE).startswith("Waiting for another `azpg apply` on dsn")
            assert not second.is_set(), "both hold the lock"
        finally:
            go_on.set()
        one.result(PATIENCE)
        other.result(PATIENCE)


def test_a_session_that_ends_while_it_waits(site: Site, target: DsnTarget) -> None:
    """As all do when the apply that is waited for restarts the server."""
    told: queue.Queue[str] = queue.Queue()
    asking = """
        SELECT pid FROM pg_stat_activity AS a
        WHERE query ~ '^SELECT pg_catalog.pg_try_advisory_lock' AND datname = 'postgres'
            AND NOT EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND locktype = 'advisory')
    """

    def another() -> None:
        with locked(target, told.put):
            told.put("has it")

    with ThreadPoolExecutor(1) as pool, site.twin.superuser() as superuser:

        def waits() -> list[tuple[int]]:
            return superuser.execute(asking).fetchall()

        with locked(target, told.put):
            other = pool.submit(another)
            assert told.get(timeout=PATIENCE).startswith("Waiting for another `azpg apply` on dsn")
            assert wait_for(lambda: len(waits()) == 1, timeout=PATIENCE)
            before = waits()
            superuser.execute("SELECT pg_terminate_backend(%s)", before[0])
            assert wait_for(lambda: other.done() or waits() not in ([], before), timeout=PATIENCE)
        other.result(PATIENCE)
    assert told.get_nowait() == "has it", "that it waits was said already"


def test_a_locks_database_that_does_not_come_back(site: Site, target: DsnTarget) -> None:
    with (
        full(site.twin),
        pytest.raises(
            ApplyFailed,
            match=r"the lock that keeps two applies apart is in the database postgres, which cannot be reached: "
            r".*too many connections.* Run `azpg apply` again then",
        ),
        locked(target, lambda text: None, patience=0.5),
    ):
        pass


def test_a_lock_that_somebody_holds_for_ever(site: Site, target: DsnTarget) -> None:
    """As whoever may log in can; who it is, and what to do, is said."""
    told: list[str] = []
    host = urlsplit(site.twin.dsn("postgres", tcp=True))
    stranger = host._replace(netloc=f"azpg_stranger:apart@{host.hostname}:{host.port}")
    with changed(
        site.twin, "CREATE ROLE azpg_stranger LOGIN PASSWORD 'apart'", "DROP ROLE IF EXISTS azpg_stranger"
    ):
        with psycopg.connect(stranger.geturl(), application_name="an\x1b[31m app", autocommit=True) as holder:
            # Another lock of another application, with the same number in its second half.
            holder.execute("SELECT pg_catalog.pg_advisory_lock(7, x'617a7067'::int)")
            holder.execute("SELECT pg_catalog.pg_advisory_lock(x'617a7067'::int::bigint)")
            pid = holder.info.backend_pid
            who = f"session {pid} of the role 'azpg_stranger', application 'an"
            with (
                pytest.raises(ApplyFailed, match="is still somebody else's after 0 s") as caught,
                locked(target, told.append, turn=0.2),
            ):
                pass
        assert f"it has the {who}" in str(caught.value)
        assert f"end it: SELECT pg_terminate_backend({pid})." in str(caught.value)
        assert told[0].startswith("Waiting for another `azpg apply` on dsn")
        assert who in told[0]
        assert "\x1b" not in f"{told[0]}{caught.value}"
        with locked(target, told.append):
            pass


def test_a_role_that_may_not_go_to_the_locks_database(site: Site) -> None:
    told: list[str] = []
    dsn = urlsplit(site.twin.dsn(site.name, tcp=True))
    dsn = dsn._replace(netloc=f"azpg_stranger:apart@{dsn.hostname}:{dsn.port}")
    with (
        changed(
            site.twin,
            "CREATE ROLE azpg_stranger LOGIN PASSWORD 'apart'; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC; DROP ROLE IF EXISTS azpg_stranger",
        ),
        locked(DsnTarget(Secret(dsn.geturl())), told.append, patience=0),
    ):
        pass
    assert told == [
        "The database postgres is closed to this role: an apply is kept apart from those only that come to "
        f"{site.name}, too"
    ]
