"""Each invariant of ``make chaos`` sees what it is there for, and no other does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from azpg_runtime.wait import wait_for
from tests.chaos import invariants
from tests.chaos.commands import End
from tests.chaos.invariants import Run, Verdict
from tests.chaos.load import Key
from tests.chaos.run import loaded
from tests.chaos.site import DATABASE, Site, Table, made

PATIENCE = 60.0


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """A short load without faults."""
    with made(1, quick=True) as site:
        yield loaded(site, 5, 1, sessions=8, faults=False)


def broken(verdicts: list[Verdict]) -> list[str]:
    for verdict in verdicts:
        print(verdict)
    return [verdict.name for verdict in verdicts if not verdict.held]


@contextmanager
def unseen(site: Site) -> Iterator[psycopg.Connection[Any]]:
    """A session of the superuser for whom no trigger runs."""
    with site.instance.superuser(DATABASE) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def rows(run: Run, table: Table) -> list[Key]:
    """Rows of a table with a text, of a text each."""
    found: dict[str, Key] = {}
    for session in run.sessions:
        for key in session.journal.known():
            state = session.journal.before(key)
            if key[0] == table.name and isinstance(state, str):
                found[state] = key
    return list(found.values())


def table(run: Run, kind: str) -> Table:
    return next(one for one in run.site.tables if one.name == f"tiny_{kind}")


def public(name: str) -> sql.Identifier:
    return sql.Identifier("public", name)


@contextmanager
def swapped_vector(run: Run) -> Iterator[None]:
    (name, first), (_, second), *_ = rows(run, table(run, "two"))
    set_vector = sql.SQL("UPDATE {} SET embedding = %s WHERE id = %s").format(public(name))
    query = sql.SQL("SELECT embedding::text FROM {} WHERE id = %s").format(public(name))
    with unseen(run.site) as connection:
        found = [connection.execute(query, [one]).fetchone() for one in (first, second)]
        mine, other = (row[0] for row in found if row is not None)
        connection.execute(set_vector, [other, first])
    yield
    with unseen(run.site) as connection:
        connection.execute(set_vector, [mine, first])


@contextmanager
def lost_row(run: Run) -> Iterator[None]:
    (name, number), *_ = rows(run, table(run, "one"))
    delete = sql.SQL("DELETE FROM {} WHERE id = %s RETURNING id, body, version, embedding::text").format(
        public(name)
    )
    insert = sql.SQL("INSERT INTO {} (id, body, version, embedding) VALUES (%s, %s, %s, %s)").format(
        public(name)
    )
    with unseen(run.site) as connection:
        row = connection.execute(delete, [number]).fetchone()
    yield
    with unseen(run.site) as connection:
        connection.execute(insert, row)


@contextmanager
def half_a_transaction(run: Run) -> Iterator[None]:
    journal = run.sessions[0].journal
    first, second, *_ = journal.known()
    before, after = journal.before(first), journal.before(second)
    journal.groups.append({first: ("another text", before), second: (after, "another text")})
    yield
    journal.groups.pop()


@contextmanager
def wrong_answer(run: Run) -> Iterator[None]:
    run.pulse.wrong.append("tiny:v1: 'a text'")
    yield
    run.pulse.wrong.clear()


@contextmanager
def strange_error(run: Run) -> Iterator[None]:
    run.pulse.failure("XX000")
    yield
    del run.pulse.states["XX000"]


@contextmanager
def worker_that_ends(run: Run) -> Iterator[None]:
    run.ends.append(End("worker 1", 0, False, 1.0, "Traceback (most recent call last)"))
    yield
    run.ends.pop()


@contextmanager
def drift(run: Run) -> Iterator[None]:
    run.final.append(End("drift", 3, False, 1.0, "1 row is stale"))
    yield
    run.final.pop()


@contextmanager
def forgotten_entry(run: Run) -> Iterator[None]:
    with run.site.instance.superuser(DATABASE) as connection:
        connection.execute("INSERT INTO azpg.queue_1 (key_1) VALUES (1)")
    yield
    with run.site.instance.superuser(DATABASE) as connection:
        connection.execute("DELETE FROM azpg.queue_1")


@contextmanager
def invalid_index(run: Run) -> Iterator[None]:
    statement = sql.SQL(
        "UPDATE pg_index SET indisvalid = {} WHERE indrelid = {}::regclass AND NOT indisprimary"
    )
    name = sql.Literal(f"public.{table(run, 'one').name}")
    with run.site.instance.superuser(DATABASE) as connection:
        assert connection.execute(statement.format(sql.Literal(False), name)).rowcount == 1
    yield
    with run.site.instance.superuser(DATABASE) as connection:
        connection.execute(statement.format(sql.Literal(True), name))


@contextmanager
def forgotten_session(run: Run) -> Iterator[None]:
    with run.site.instance.connect(DATABASE):
        yield


@contextmanager
def other_killer(run: Run) -> Iterator[None]:
    with run.site.instance.connect(DATABASE) as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGKILL)
        with suppress(psycopg.Error):
            connection.execute("SELECT 1")

    def answers() -> bool:
        with suppress(psycopg.Error), run.site.instance.superuser(DATABASE):
            return True
        return False

    assert wait_for(lambda: not psutil.pid_exists(pid) and answers(), timeout=PATIENCE)
    yield
    run.nemesis.killed.add(pid)


@contextmanager
def fat_host(run: Run) -> Iterator[None]:
    run.host_memory.append(10**12)
    yield
    run.host_memory.pop()


SABOTAGE: dict[Callable[[Run], AbstractContextManager[None]], str] = {
    swapped_vector: "every row has the embedding of its text",
    lost_row: "no row that was acknowledged is lost, or back",
    half_a_transaction: "transactions are whole",
    wrong_answer: "every answer under load is the embedding of its text",
    strange_error: "errors are documented ones",
    worker_that_ends: "commands end in order, or are killed",
    drift: "apply, vectorize, worker --once and drift end well",
    forgotten_entry: "no claim, entry or failure is left in the ledger",
    invalid_index: "every index is valid",
    forgotten_session: "no session and no prepared transaction is left",
    other_killer: "PostgreSQL's processes end by our kills only",
    fat_host: "the model host's memory is bounded",
}


def test_nothing_is_broken_where_nothing_was_done(run: Run) -> None:
    assert broken(invariants.after(run)) == []
    assert run.pulse.good["ask"]
    assert run.pulse.good["transaction"]


@pytest.mark.parametrize("sabotage", SABOTAGE, ids=lambda one: one.__name__)
def test_sabotage_is_seen_by_its_invariant_and_no_other(
    run: Run, sabotage: Callable[[Run], AbstractContextManager[None]]
) -> None:
    with sabotage(run):
        assert broken(invariants.after(run)) == [SABOTAGE[sabotage]]
    assert broken(invariants.after(run)) == []


def test_every_invariant_has_a_sabotage(run: Run) -> None:
    assert [verdict.name for verdict in invariants.after(run)] == list(SABOTAGE.values())


def test_what_is_left_of_a_server_that_was_deleted() -> None:
    with made(2, quick=True) as site:
        site.instance.down(delete=True)
        assert broken(invariants.afterwards(site)) == []
        sleep = [sys.executable, "-c", "import time; time.sleep(600)", str(site.home.root)]
        with subprocess.Popen(sleep) as stray:
            try:
                assert broken(invariants.afterwards(site)) == ["no process is left"]
            finally:
                stray.kill()
        site.instance.home.runtime.mkdir(parents=True)
        assert broken(invariants.afterwards(site)) == ["no file and no socket is left"]
        site.instance.home.runtime.rmdir()
        assert broken(invariants.afterwards(site)) == []
