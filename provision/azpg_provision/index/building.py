"""Builds an index CONCURRENTLY, with memory that fits, telling how far it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from azpg.errors import AzpgError
from azpg_provision.column import VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.index import memory
from azpg_provision.index.definition import VectorIndex
from azpg_provision.live.count import count
from azpg_provision.live.pgvector import schema_of

Connection = psycopg.Connection[tuple[Any, ...]]
_POLL = 0.25
"""Seconds between two looks at how far the server is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is, as `pg_stat_progress_create_index` says it.

    Attributes:
        phase: in the server's words, such as ``building index: loading tuples``.
        done, total: tuples where the server counts them, else blocks; total is 0 where it is unknown.
    """

    phase: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build.

    Attributes:
        remarks: what the server had to say, such as that a graph did not fit into memory.
    """

    name: str
    remarks: tuple[str, ...]


def create(
    connect: Callable[[], Connection],
    column: VectorColumn,
    index: VectorIndex,
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Built:
    """Builds the index, in place of one of its name that an earlier, interrupted build left invalid.

    Reading and writing go on meanwhile. Raises `ApplyFailed` when another index or table has the name, or
    when the server refuses; whatever fails, no half index stays if the server can still be asked.
    """
    name = index.name(column)
    remarks: list[str] = []
    with connect() as connection:
        connection.add_notice_handler(lambda notice: remarks.append(notice.message_primary or ""))
        _clear(connection, column, name)
        _prepare(connection, column, index)
        pid = connection.info.backend_pid
        with _watched(connect, pid, tell), _explained(connection, column, name):
            _build(connection, column, name, index.statement(column, schema_of(connection)))
    return Built(name, tuple(dict.fromkeys(remark for remark in remarks if remark)))


def valid(connection: Connection, column: VectorColumn, name: str) -> bool | None:
    """Whether the column's index of that name can be used; None if there is no such index.

    Raises `ApplyFailed` if the name is another thing's.
    """
    row = connection.execute(
        """
        SELECT index.indisvalid, index.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
        FROM pg_catalog.pg_class AS class
        JOIN pg_catalog.pg_namespace AS namespace
             ON namespace.oid OPERATOR(pg_catalog.=) class.relnamespace
        LEFT JOIN pg_catalog.pg_index AS index ON index.indexrelid OPERATOR(pg_catalog.=) class.oid
        WHERE namespace.nspname OPERATOR(pg_catalog.=) %s AND class.relname OPERATOR(pg_catalog.=) %s
        """,
        [column.relation.as_string(), column.schema, name],
    ).fetchone()
    if row is None:
        return None
    usable, ours = row
    if not ours:
        raise ApplyFailed(
            f"the name {name!r} that the index of {column.name} needs is taken by something else: "
            "rename that, then apply again."
        )
    return bool(usable)


def _clear(connection: Connection, column: VectorColumn, name: str) -> None:
    usable = valid(connection, column, name)
    if usable:
        raise ApplyFailed(f"there is an index {name!r} already: nothing was built.")
    if usable is False:
        _drop(connection, column, name)


def _drop(connection: Connection, column: VectorColumn, name: str) -> None:
    index = sql.Identifier(column.schema, name)
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))


def _prepare(connection: Connection, column: VectorColumn, index: VectorIndex) -> None:
    """Gives the session the time and the memory for a build."""
    row = connection.execute(
        """
        SELECT greatest(reltuples, 0)::pg_catalog.int8,
               pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')),
               pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers'))
        FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) %s::pg_catalog.regclass
        """,
        [column.relation.as_string()],
    ).fetchone()
    assert row is not None
    rows, current, shared_buffers = row
    if rows == 0:  # never analysed
        rows = count(connection, column.schema, column.table)
    bytes_wanted = memory.wanted(
        index.method, rows=rows, dimensions=column.dimensions, parameters=dict(index.parameters)
    )
    size = memory.given(bytes_wanted, current=current, shared_buffers=shared_buffers)
    for setting, value in (
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("lock_timeout", "0"),
        ("maintenance_work_mem", f"{size >> 10}kB"),
    ):
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [setting, value])


def _build(connection: Connection, column: VectorColumn, name: str, statement: sql.Composed) -> None:
    try:
        connection.execute(statement)
    except (errors.DiskFull, errors.OutOfMemory):
        # Parallel workers share their memory through /dev/shm, which is small in a container.
        _drop(connection, column, name)
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(statement)


@contextlib.contextmanager
def _explained(connection: Connection, column: VectorColumn, name: str) -> Iterator[None]:
    """Says what went wrong; whatever it was (psycopg cancels the statement on Ctrl-C), clears it away."""
    try:
        yield
    except BaseException as error:
        left = ""
        try:
            _drop(connection, column, name)
        except psycopg.Error:
            left = " What it left is invalid, and the next apply replaces it."
        if not isinstance(error, psycopg.Error):
            raise
        raise ApplyFailed(f"the index {name!r} could not be built: {_first_line(error)}.{left}") from error


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).splitlines()[0].rstrip(".")


@contextlib.contextmanager
def _watched(connect: Callable[[], Connection], pid: int, tell: Callable[[Progress], None]) -> Iterator[None]:
    """Tells how far the session `pid` is with its index, from a session of its own.

    Where there is no room for another session, such as on a server that is full, nothing is told until there
    is: the build goes on.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL):
            with contextlib.suppress(psycopg.Error, AzpgError), connect() as connection:
                while not ended.wait(_POLL):
                    progress = _progress(connection, pid)
                    if progress is not None:
                        tell(progress)

    thread = threading.Thread(target=watch, name="azpg-index-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _progress(connection: Connection, pid: int) -> Progress | None:
    row = connection.execute(
        """
        SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total
        FROM pg_catalog.pg_stat_progress_create_index WHERE pid OPERATOR(pg_catalog.=) %s
        """,
        [pid],
    ).fetchone()
    if row is None:
        return None
    phase, tuples_done, tuples_total, blocks_done, blocks_total = row
    if tuples_total or not blocks_total:
        return Progress(phase, tuples_done, tuples_total)
    return Progress(phase, blocks_done, blocks_total)
