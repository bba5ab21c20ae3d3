"""Steps about vectorized columns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from psycopg import errors, sql

from azpg_provision import ledger, vectorize
from azpg_provision.apply.reporter import Progress
from azpg_provision.apply.work import Work
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.index import building
from azpg_provision.live.count import count
from azpg_provision.live.model import LiveTable
from azpg_provision.live.pgvector import schema_of
from azpg_provision.plan.change import Action, Change
from azpg_provision.plan.columns import counted, duration
from azpg_provision.plan.sampling import rows_per_second
from azpg_provision.plan.wanted import index_name, index_of
from azpg_provision.spec.identifier import qualified
from azpg_provision.sync import install, make_generated, remove
from azpg_provision.sync.bound import unbound
from azpg_provision.sync.session import schemas
from azpg_provision.target.target import Connection

_LOCK_TIMEOUT = "2s"
_ATTEMPTS = 30
_PAUSE = 0.5
"""Seconds between attempts to lock a table: whoever waits for it stops everybody behind."""
_SMALL = 64 * 1024
"""Bytes of a table, a few hundred rows: nobody counts before which of them wait, and one worker does it."""


def column(work: Work, change: Change) -> None:
    """Adds a column, or takes one that is there; notes how it is vectorized."""
    with work.session(change) as connection:
        wanted, found = work.column(connection, change)
        there = wanted.column in found.columns
        if change.action is Action.UPDATE:
            if not there:
                raise ApplyFailed(f"{change.name} is gone: run `azpg apply` again.")
            with work.sweep(change) as sweep:
                _patiently(
                    connection,
                    lambda: _take(connection, wanted, sweep=sweep),
                    work.report.tell,
                    change.name,
                )
            return
        if there and change.action is Action.CREATE:
            raise ApplyFailed(f"{change.name} has been made by somebody else: run `azpg apply` again.")
        table = qualified(wanted.schema, wanted.table)
        if wanted.sync is Sync.GENERATED:
            _announce(connection, wanted, work)
        with work.sweep(change) as sweep:
            _patiently(
                connection,
                lambda: _make(connection, wanted, change, there=there, sweep=sweep),
                work.report.tell,
                table,
            )


def sync(work: Work, change: Change) -> None:
    """Installs what keeps the column in step with its rows, in the place of what did so before."""
    with work.session(change) as connection:
        if work.leaves(change):
            _patiently(connection, lambda: ledger.bury(connection), work.report.tell, change.name)
            return
        found, _ = _registered(connection, work, change)
        table = qualified(found.schema, found.table)
        _patiently(connection, lambda: install(connection, found), work.report.tell, table)
        found, _ = _registered(connection, work, change)  # its keys may be compared otherwise now
    if change.action is Action.UPDATE and (change.database, change.name) not in work.rows:
        # A row may have been written since the plan found none that waits, and before there was a trigger.
        work.vectorize(change, found)


def rows(work: Work, change: Change) -> str:
    """Gives every row its embedding; returns how many got one."""
    with work.session(change) as connection:
        found, live_table = _registered(connection, work, change)
        if why := unbound(connection, found):
            raise ApplyFailed(f"{change.name}: {why}.")
        small = live_table.bytes <= _SMALL
        total = 0
        if not small:
            with connection.transaction(force_rollback=True):  # and with it the settings of a worker
                total = vectorize.pending(connection, found)

    def show(one: vectorize.Progress) -> None:
        work.report.show(Progress("", one.embedded + one.failed, total))

    work.report.show(Progress("", 0, total))
    outcome = work.vectorize(change, found, show, small=small)
    if outcome.failed:
        work.report.tell(
            f"{change.name}: {counted(outcome.failed)} failed; `azpg vectorize --failed` lists them"
        )
    if outcome.skipped:
        raise ApplyFailed(
            f"{counted(outcome.skipped)} could not be written: others hold them locked, or a trigger of the "
            "table keeps them as they are."
        )
    return f"{outcome.embedded:,}"


def index(work: Work, change: Change) -> None:
    """Builds an approximate index, in the place of azpg's own of the same name if it is to be replaced."""
    with work.session(change) as connection:
        found, _ = _registered(connection, work, change)
        _, embedding = work.embedding(change)
        assert embedding.index is not None
        wanted = index_of(embedding.index)
        name = index_name(found, wanted)
        if change.action is Action.REPLACE:
            if not ledger.owns(connection, "index", found.schema, wanted.name(found)):
                raise ApplyFailed(f"the index {name} is not azpg's own, and is left alone: rename it.")
            place = sql.Identifier(found.schema, wanted.name(found))
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(place))
    built = building.create(
        lambda: work.connect(change),
        found,
        wanted,
        tell=lambda one: work.report.show(Progress(one.phase.rpartition(": ")[2], one.done, one.total)),
    )
    with work.session(change) as connection:
        ledger.own_index(connection, found.schema, wanted.name(found), change.after)
    for remark in built.remarks:
        work.report.tell(remark)


def _announce(connection: Connection, wanted: VectorColumn, work: Work) -> None:
    """Says how long it will take to rewrite a table, by a sample: PostgreSQL does not say how far it is."""
    rows = count(connection, wanted.schema, wanted.table)
    rate = rows_per_second(
        connection,
        relation=(wanted.schema, wanted.table),
        text=wanted.text,
        prefix=wanted.prefix,
        model=wanted.model,
        path=schemas(wanted.schema, wanted.keys),
    )
    if rate is not None:
        table = qualified(wanted.schema, wanted.table)
        took = duration(rows / rate)
        work.report.tell(f"{table} is being rewritten: {counted(rows)}, for about {took} by a sample")
        work.report.show(Progress("", 0, rows, rate))


def _take(connection: Connection, wanted: VectorColumn, *, sweep: bool) -> None:
    """Notes how a column is vectorized that is there."""
    if ledger.find(connection, wanted.schema, wanted.table, wanted.column) is None:
        ledger.disown_column(connection, wanted)
    _register(connection, wanted, sweep=sweep)


def _make(connection: Connection, wanted: VectorColumn, change: Change, *, there: bool, sweep: bool) -> None:
    """Drops the column that azpg owns, if there is one, and adds it, in the caller's transaction."""
    name = sql.Identifier(wanted.column)
    if there:
        if not ledger.owns(connection, "column", wanted.schema, wanted.table, wanted.column):
            raise ApplyFailed(f"{change.name} is not azpg's own, and is left alone: use another column.")
        old = ledger.find(connection, wanted.schema, wanted.table, wanted.column)
        if old is not None:
            remove(connection, old)
            ledger.forget(connection, old)
        statement = sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(wanted.relation, name)
        connection.execute(statement)
    # Before there is a column by the name of one that somebody has dropped.
    ledger.bury(connection, None if sweep else wanted)
    type_ = sql.Identifier(schema_of(connection), "vector")
    if wanted.sync is Sync.GENERATED:
        make_generated(connection, wanted, vector=type_)
    else:
        statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}({})").format(
            wanted.relation, name, type_, sql.Literal(wanted.dimensions)
        )
        connection.execute(statement)
    ledger.own_column(connection, wanted)
    _register(connection, wanted, sweep=False)


def _register(connection: Connection, wanted: VectorColumn, *, sweep: bool) -> None:
    """Notes how a column is vectorized; where no triggers follow, all else that it needs is made, too."""
    registered = ledger.register(connection, wanted, sweep=sweep)
    if wanted.sync in {Sync.NONE, Sync.GENERATED}:
        install(connection, registered)


def _patiently(
    connection: Connection, do: Callable[[], object], tell: Callable[[str], None], table: str
) -> None:
    """Does it in one transaction; again while others hold the table, so that nobody waits behind it for long.

    Raises `ApplyFailed`.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
                do()
        except errors.LockNotAvailable:
            if attempt == 0:
                tell(f"Waiting for {table}, which others are using")
            time.sleep(_PAUSE)
        else:
            return
    raise ApplyFailed(
        f"{table} is in use by others all the time: look for long transactions in pg_stat_activity, and run "
        "`azpg apply` again."
    )


def _registered(connection: Connection, work: Work, change: Change) -> tuple[VectorColumn, LiveTable]:
    """The column as the ledger has it, and its table. Raises `ApplyFailed` unless it is as the spec asks."""
    wanted, live_table = work.column(connection, change, again=True)
    found = ledger.find(connection, wanted.schema, wanted.table, wanted.column)
    if found is None or replace(found, id=0) != wanted:
        raise ApplyFailed(f"{change.name} is not as it was planned any more: run `azpg apply` again.")
    return found, live_table
