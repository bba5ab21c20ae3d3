"""What must hold when the load and the faults are over, looked at from outside."""

from __future__ import annotations

import re
import signal
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from psycopg import sql

from tests.chaos.commands import End
from tests.chaos.faults import Nemesis
from tests.chaos.load import ABSENT, LOST, TOLERANCE, Key, Pulse, Session, State
from tests.chaos.site import DATABASE, PREFIXES, Model, Site, Table, Vector
from tests.integration.calls import family

DOCUMENTED = {
    LOST: "the connection broke; what it was at may or may not be committed",
    "08001": "the model host cannot be reached",
    "08006": "the model host ended, or the server did",
    "25P03": "a transaction that waited too long",
    "53100": "the disk is full",
    "53200": "the memory does not suffice",
    "53300": "too many connections",
    "53400": "the model host has too much to do",
    "55P03": "a lock was not to be had in time",
    "57014": "cancelled, or a timeout",
    "57P01": "the server is being stopped",
    "57P02": "another process of the server was killed",
    "57P03": "the server is starting or stopping",
    "58030": "a file could not be written",
}
"""Errors that a client may meet; whatever else one meets is a fault of ours."""

HOST_MEMORY = 300e6
"""Bytes that the model host may take besides twice its models."""

_SIGNAL = re.compile(r"\(PID (\d+)\) was terminated by signal (\d+)")
_SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """Whether an invariant held, and what was seen."""

    name: str
    held: bool
    detail: str


@dataclass
class Run:
    """What a run has seen, for the invariants."""

    site: Site
    pulse: Pulse
    sessions: list[Session]
    nemesis: Nemesis
    ends: list[End]
    final: list[End]
    host_memory: list[int] = field(default_factory=list)


def _verdict(name: str, broken: Iterable[str], good: str) -> Verdict:
    found = list(broken)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Verdict(name, not found, "; ".join(found[:_SHOWN]) + more if found else good)


def after(run: Run) -> list[Verdict]:
    """What is seen while the server still runs, and is quiet."""
    with run.site.instance.superuser(DATABASE) as connection:
        rows = {table: _rows(connection, table) for table in run.site.tables}
        return [
            _vectors(connection, run, rows),
            _committed(run, rows),
            _whole(run, rows),
            _verdict("every answer under load is the embedding of its text", run.pulse.wrong,
                     f"{run.pulse.good['ask']:,} answers"),
            _states(run.pulse),
            _commands(run),
            _final(run.final),
            _ledger(connection),
            _indexes(connection),
            _sessions(connection),
            _restarts(run),
            _memory(run),
        ]  # fmt: skip


Rows = dict[int, tuple[str | None, Vector | None]]


def _rows(connection: psycopg.Connection[Any], table: Table) -> Rows:
    statement = sql.SQL("SELECT id, body, embedding::real[] FROM public.{}").format(
        sql.Identifier(table.name)
    )
    return {
        number: (body, None if vector is None else np.array(vector, np.float32))
        for number, body, vector in connection.execute(statement)
    }


def _vectors(connection: psycopg.Connection[Any], run: Run, rows: dict[Table, Rows]) -> Verdict:
    """Twice: by the SQL function on the quiet server, and by the library in this process."""
    broken = []
    by_sql = {model.name: _by_sql(connection, run.site, model) for model in run.site.models}
    for table, found in rows.items():
        for number, (body, vector) in found.items():
            text = None if body is None else table.prefix + body
            for how, right in (
                ("SQL", None if text is None else by_sql[table.model.name][text]),
                ("the library", table.vector(body)),
            ):
                if not _same(vector, right):
                    broken.append(f"{table.name} {number}: not that of {how} for {text!r:.40}")
    return _verdict(
        "every row has the embedding of its text", broken, f"{sum(map(len, rows.values())):,} rows"
    )


def _by_sql(connection: psycopg.Connection[Any], site: Site, model: Model) -> dict[str, Vector]:
    texts = [prefix + text for prefix in PREFIXES for text in site.texts if text is not None]
    found = connection.execute(
        "SELECT embedding FROM azure_local_ai.create_embeddings(%s, %s::text[]) WITH ORDINALITY AS f(embedding, n) ORDER BY n",
        [model.uri, texts],
    ).fetchall()
    return {text: np.array(vector, np.float32) for text, (vector,) in zip(texts, found, strict=True)}


def _same(vector: Vector | None, right: Vector | None) -> bool:
    if vector is None or right is None:
        return vector is right
    return vector.shape == right.shape and bool(np.abs(vector - right).max() <= TOLERANCE)


def _committed(run: Run, rows: dict[Table, Rows]) -> Verdict:
    broken = [f"{one.name}: {one.failure}" for one in run.sessions if one.failure is not None]
    if run.nemesis.failure is not None:
        broken.append(f"nemesis: {run.nemesis.failure}")
    states = _found(rows)
    expected: dict[Key, tuple[State, ...]] = {}
    for session in run.sessions:
        expected |= session.journal.rows
    for key, allowed in expected.items():
        found = states.get(key, ABSENT)
        if found not in allowed:
            broken.append(f"{key[0]} {key[1]} is {_show(found)}, not {' or '.join(map(_show, allowed))}")
    broken += [f"{key[0]} {key[1]} was never written" for key in states if key not in expected]
    return _verdict(
        "no row that was acknowledged is lost, or back", broken, f"{len(expected):,} rows in the journals"
    )


def _found(rows: dict[Table, Rows]) -> dict[Key, State]:
    return {
        (table.name, number): body for table, found in rows.items() for number, (body, _) in found.items()
    }


def _show(state: State) -> str:
    return "absent" if state is ABSENT else f"{state!r:.30}"


def _whole(run: Run, rows: dict[Table, Rows]) -> Verdict:
    """Transactions of which nobody knows whether they were committed are there all, or not at all."""
    states = _found(rows)
    broken, count = [], 0
    for session in run.sessions:
        for group in session.journal.groups:
            found = {key: states.get(key, ABSENT) for key in group}
            count += 1
            if any(found[key] not in both for key, both in group.items()):
                continue  # which is another invariant's
            all_new = all(found[key] == new for key, (_, new) in group.items())
            all_old = all(found[key] == old for key, (old, _) in group.items())
            if not all_new and not all_old:
                broken.append(
                    f"a transaction is there in part: {', '.join(f'{one[0]} {one[1]}' for one in group)}"
                )
    return _verdict("transactions are whole", broken, f"{count:,} in doubt")


def _states(pulse: Pulse) -> Verdict:
    broken = [f"{state} ({count} times)" for state, count in pulse.states.items() if state not in DOCUMENTED]
    return _verdict(
        "errors are documented ones", broken, ", ".join(f"{one} {n}" for one, n in pulse.states.most_common())
    )


def _commands(run: Run) -> Verdict:
    broken = []
    for end in run.ends:
        if "Traceback" in end.said:
            broken.append(f"{end.name}: a traceback: {end.said[-300:]}")
        elif not end.killed and end.code not in _allowed(end):
            broken.append(f"{end.name} ended with {end.code}: {end.said[-300:]}")
    return _verdict("commands end in order, or are killed", broken, f"{len(run.ends)} ends")


def _allowed(end: End) -> set[int]:
    """What a command may end with.

    A worker ends when it is told, and if the server is away when it begins, which it says in one line. SIGTERM
    in the first or last moments of Python ends any process.
    """
    if not end.name.startswith("worker"):
        return {0, 1, 143, -signal.SIGTERM}
    at_once = [line.partition(":")[0].partition(" ")[0] for line in end.said.splitlines()] == [
        "Waiting",
        "azpg",
    ]
    return {0, -signal.SIGTERM, *([1] if at_once else [])}


def _final(ends: list[End]) -> Verdict:
    broken = [
        f"{end.name} ended with {end.code} after {end.seconds:.0f} s: {end.said[-300:]}"
        for end in ends
        if end.code != 0
    ]
    times = ", ".join(f"{end.name} {end.seconds:.1f} s" for end in ends)
    return _verdict("apply, vectorize, worker --once and drift end well", broken, times)


def _ledger(connection: psycopg.Connection[Any]) -> Verdict:
    """No claim, no entry of a queue and no failure is left: nothing that went wrong was a row's fault."""
    broken = []
    ids = [number for (number,) in connection.execute("SELECT id FROM azpg.columns ORDER BY id").fetchall()]
    counts = {"claims": "SELECT count(*) FROM azpg.claims"}
    counts |= {f"queue_{number}": f"SELECT count(*) FROM azpg.queue_{number}" for number in ids}
    counts |= {
        f"state_{number}, failures": f"SELECT count(*) FROM azpg.state_{number} WHERE failure IS NOT NULL"
        for number in ids
    }
    for name, query in counts.items():
        row = connection.execute(sql.SQL(query)).fetchone()
        assert row is not None
        if row[0]:
            broken.append(f"azpg.{name}: {row[0]}")
    return _verdict("no claim, entry or failure is left in the ledger", broken, f"{len(ids)} columns")


def _indexes(connection: psycopg.Connection[Any]) -> Verdict:
    query = (
        "SELECT indexrelid::regclass::text FROM pg_catalog.pg_index WHERE NOT indisvalid OR NOT indisready"
    )
    return _verdict("every index is valid", [name for (name,) in connection.execute(query)], "")


def _sessions(connection: psycopg.Connection[Any]) -> Verdict:
    query = (
        "SELECT 'session ' || pid || ' of ' || application_name || ': ' || left(query, 60) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        " UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts"
    )
    return _verdict(
        "no session and no prepared transaction is left", [name for (name,) in connection.execute(query)], ""
    )


def _restarts(run: Run) -> Verdict:
    allowed = {signal.SIGKILL, *([signal.SIGABRT] if run.nemesis.full else [])}
    ends = [
        tuple(map(int, found))
        for found in _SIGNAL.findall(run.site.instance.home.postgres_log.read_text(errors="replace"))
    ]
    broken = [
        f"process {pid} by signal {number}" for pid, number in ends
        if number not in allowed or (number == signal.SIGKILL and pid not in run.nemesis.killed)
    ]  # fmt: skip
    return _verdict("PostgreSQL's processes end by our kills only", broken, f"{len(ends)} restarts")


def _memory(run: Run) -> Verdict:
    models = sum(one.stat().st_size for one in (run.site.home.models / "content").rglob("*") if one.is_file())
    limit, most = 2 * models + HOST_MEMORY, max(run.host_memory, default=0)
    detail = (
        f"{most / 1e6:.0f} MB at most, models of {models / 1e6:.0f} MB, the limit is {limit / 1e6:.0f} MB"
    )
    return Verdict("the model host's memory is bounded", most <= limit, detail)


def afterwards(site: Site) -> list[Verdict]:
    """What is left of a server that was deleted."""
    processes = [
        f"process {one.pid}: {' '.join(_words(one))[:100]}"
        for one in family(site.home)
        if one.pid != psutil.Process().pid
    ]
    folders = [site.instance.home.root, site.instance.home.runtime]
    files = [str(path) for folder in folders if folder.exists() for path in (folder, *folder.rglob("*"))]
    files += [
        str(path) for path in site.home.root.rglob("*") if _is_socket(path) or path.name.startswith(".new-")
    ]
    return [
        _verdict("no process is left", processes, ""),
        _verdict("no file and no socket is left", files, ""),
    ]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_socket(path: Path) -> bool:
    return stat.S_ISSOCK(path.lstat().st_mode)
