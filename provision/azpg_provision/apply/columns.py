"""Steps about vectorized columns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from psycopg import errors, sql

from azpg_provision import ledger, vectorize
from azpg_provision.apply.work import Progress, Work
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.index import building
from azpg_provision.live.pgvector import schema_of
from azpg_provision.plan.change import Action, Change
from azpg_provision.plan.columns import counted
from azpg_provision.plan.wanted import index_name, index_of
from azpg_provision.spec.identifier import qualified
from azpg_provision.sync import add_generated, install, remove
from azpg_provision.target.target import Connection

_LOCK_TIMEOUT = "2s"
_ATTEMPTS = 30
_PAUSE = 0.5
"""Seconds between attempts to lock a table: whoever waits for it stops everybody behind."""


def column(work: Work, change: Change) -> None:
    """Adds a column, or takes one that is there; notes how it is vectorized."""
    with work.connect(change) as connection:
        wanted, found = work.column(connection, change)
        there = wanted.column in found.columns
        if change.action is Action.UPDATE:
            if not there:
                raise ApplyFailed(f"{change.name} is gone: run `azpg apply` again.")
            with connection.transaction():
                ledger.register(connection, wanted)
            return
        if there and change.action is Action.CREATE:
            raise ApplyFailed(f"{change.name} has been made by somebody else: run `azpg apply` again.")
        table = qualified(wanted.schema, wanted.table)
        _patiently(lambda: _make(connection, wanted, change, there=there), work.tell, table)


def sync(work: Work, change: Change) -> None:
    """Installs what keeps the column in step with its rows, in the place of what did so before."""
    with work.connect(change) as connection:
        if work.leaves(change):
            _patiently(lambda: _bury(connection), work.tell, change.name)
            return
        found = _registered(connection, work, change)
        table = qualified(found.schema, found.table)
        _patiently(lambda: _install(connection, found), work.tell, table)


def rows(work: Work, change: Change) -> None:
    """Gives every row its embedding."""
    with work.connect(change) as connection:
        found = _registered(connection, work, change)
        total = vectorize.backlog(connection, found).pending

    def show(one: vectorize.Progress) -> None:
        rate = one.embedded / one.seconds if one.seconds else 0
        work.show(Progress(f"{one.embedded} of {total}, {rate:.0f} rows/s", one.embedded + one.failed, total))

    outcome = vectorize.run(lambda: work.connect(change), found, tell=show)
    if outcome.failed:
        work.tell(f"{change.name}: {counted(outcome.failed)} failed; `azpg vectorize --failed` lists them")
    if outcome.skipped:
        raise ApplyFailed(
            f"{counted(outcome.skipped)} could not be written: others hold them locked, or a trigger of the "
            "table keeps them as they are."
        )


def index(work: Work, change: Change) -> None:
    """Builds an approximate index, in the place of azpg's own of the same name if it is to be replaced."""
    with work.connect(change) as connection:
        found = _registered(connection, work, change)
        _, embedding = work.embedding(change)
        assert embedding.index is not None
        wanted = index_of(embedding.index)
        name = index_name(found, wanted)
        if change.action is Action.REPLACE:
            if ("index", name) not in ledger.owned(connection):
                raise ApplyFailed(f"the index {name} is not azpg's own, and is left alone: rename it.")
            place = sql.Identifier(found.schema, wanted.name(found))
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(place))
    built = building.create(
        lambda: work.connect(change),
        found,
        wanted,
        tell=lambda one: work.show(Progress(one.phase, one.done, one.total)),
    )
    with work.connect(change) as connection:
        ledger.own_index(connection, found.schema, wanted.name(found), change.after)
    for remark in built.remarks:
        work.tell(remark)


def _make(connection: Connection, wanted: VectorColumn, change: Change, *, there: bool) -> None:
    """Drops the column that azpg owns, if there is one, and adds it, in one transaction with the ledger's."""
    name = sql.Identifier(wanted.column)
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
        if there:
            if ("column", change.name) not in ledger.owned(connection):
                raise ApplyFailed(f"{change.name} is not azpg's own, and is left alone: use another column.")
            old = ledger.find(connection, wanted.schema, wanted.table, wanted.column)
            if old is not None:
                remove(connection, old)
                ledger.forget(connection, old)
            statement = sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(wanted.relation, name)
            connection.execute(statement)
        type_ = sql.Identifier(schema_of(connection), "vector")
        if wanted.sync is Sync.GENERATED:
            statement = add_generated(wanted, vector=type_)
        else:
            dimensions = sql.Literal(wanted.dimensions)
            statement = sql.SQL("ALTER TABLE {} ADD COLUMN {} {}({})").format(
                wanted.relation, name, type_, dimensions
            )
        connection.execute(statement)
        ledger.own_column(connection, wanted)
        ledger.register(connection, wanted)


def _install(connection: Connection, column: VectorColumn) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
        install(connection, column)


def _bury(connection: Connection) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
        ledger.bury(connection)


def _patiently(do: Callable[[], None], tell: Callable[[str], None], table: str) -> None:
    """Tries again while others hold the table, without making anybody wait behind. Raises `ApplyFailed`."""
    for attempt in range(_ATTEMPTS):
        try:
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


def _registered(connection: Connection, work: Work, change: Change) -> VectorColumn:
    """The column as the ledger has it. Raises `ApplyFailed` where it is not as the spec asks for."""
    wanted, _ = work.column(connection, change)
    found = ledger.find(connection, wanted.schema, wanted.table, wanted.column)
    if found is None or replace(found, id=0) != wanted:
        raise ApplyFailed(f"{change.name} is not as it was planned any more: run `azpg apply` again.")
    return found
