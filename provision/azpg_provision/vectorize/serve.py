"""Draining the queues of several databases for as long as it is wanted, whatever columns come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import psycopg

from azpg_provision import ledger
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch, RowsFailed, TargetUnreachable
from azpg_provision.sync.session import LOCK_TIMEOUT
from azpg_provision.vectorize.connections import TURN, Connections, Unbound
from azpg_provision.vectorize.hand import Hand
from azpg_provision.vectorize.queue import Queue, Waiting, waiting
from azpg_provision.vectorize.run import Crew
from azpg_provision.vectorize.trouble import pause, said
from azpg_provision.vectorize.work import Connect, Options, Progress, Tally

_STEP = 0.05
"""Seconds between two looks at who has ended."""
LOOK = 5.0
"""Seconds between two looks at which columns there are."""
_CONNECTING = 0.03
"""By how much more slowly queues are looked at for each database beyond the connections: about as many are
opened a second, however many databases there are."""
_REST = 60.0
"""Seconds after which a column is tried again whose work could not go on."""

FINISH = 60.0
"""Seconds for which batches may go on after the end was asked for: fewer than systemd gives a service."""
_UNDO = 5.0
"""Seconds for which a server may take to undo them."""
_COUNT = 5.0
"""Seconds that counting what waits may take in all: who owns a queue may lock it for as long as they like."""

_AWAY = (psycopg.Error, TargetUnreachable)
"""What a server that is away now raises: it is asked again later."""

_OWN = (
    LedgerMismatch,
    psycopg.ProgrammingError,
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
)
"""What only a column's own functions and tables raise, such as for one that is gone or locked."""
_LIMITS = """
SELECT pg_catalog.set_config('statement_timeout', %s, false), pg_catalog.set_config('lock_timeout', %s, false)
"""

Place = tuple[str, VectorColumn]
"""A column and the name of its database."""
_Told = tuple[int, int, tuple["RefusedColumn", ...]]
"""What of the metrics is told when it has changed: rows embedded and failed, and what is refused."""


@dataclass(frozen=True, slots=True)
class RefusedColumn:
    """A column whose queue is not drained now, and why, in a sentence."""

    database: str
    schema: str
    table: str
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a worker has done since it began, and what waits, in all its databases.

    Attributes:
        columns: how many queues there are, of refused columns, too.
        embedded, failed: rows.
        waiting: entries in the queues, but for those of refused columns, which nobody reads.
        oldest: seconds for which the first of them has waited; None if nothing waits.
        refused: the columns that are not worked at until somebody puts right what stands in the way.
    """

    columns: int
    embedded: int
    failed: int
    waiting: int
    oldest: float | None
    refused: tuple[RefusedColumn, ...] = ()


class Service:
    """A worker for all queues of some databases.

    Args:
        databases: how to connect to each, by name; in autocommit.
        options: see `Options`; `workers` is how many connections there are for all columns, which have them
            in turn. For moments there is one more, to see which columns there are, and what waits.
            `attempts` counts with `once` only.
        once: drain and leave, instead of waiting for more.
        tell: told the metrics every `every` seconds in which something was done.
        complain: told in a sentence what cannot go on, once for each reason, and what goes on again.
        every: seconds.
        turn: seconds for which a batch may have a connection that others wait for; then it is undone, and
            tried again with fewer rows, in its turn.
        finish: seconds for which batches may go on after the end was asked for; then they are undone.
        look: seconds between two looks at which columns there are.
        rest: seconds after which a column is tried again whose work could not go on.
    """

    def __init__(
        self,
        databases: Mapping[str, Connect],
        options: Options,
        *,
        once: bool,
        tell: Callable[[Metrics], None],
        complain: Callable[[str], None],
        every: float = 10.0,
        turn: float = TURN,
        finish: float = FINISH,
        look: float = LOOK,
        rest: float = _REST,
    ) -> None:
        self._databases = databases
        self._options = options if once else replace(options, attempts=0)
        self._once = once
        self._tell = tell
        self._complain = complain
        self._every = every
        self._finish = finish
        self._look = look
        self._rest = rest
        self._connections = Connections(options.workers, turn=turn)
        self._slower = max(1.0, _CONNECTING * (len(databases) - options.workers))
        self._crews: dict[Place, _Crew] = {}
        self._places: set[Place] = set()
        self._resting: dict[Place, float] = {}
        self._stopped: dict[tuple[str, str], RefusedColumn] = {}
        self._away: dict[str, set[str]] = {}
        self._refused: LedgerMismatch | None = None
        self._gone = Progress(0, 0, 0, 0.0)

    def run(self, stop: threading.Event) -> Metrics:
        """Works until `stop` is set, or with `once` until nothing waits; returns the last metrics.

        A KeyboardInterrupt undoes the batches at hand. Raises what connecting raises at the first time, with
        `once` also what stops a column's work, unless that is refused. `LedgerMismatch` is raised at the
        first time if there is no other database, with `once` in the end.
        """
        looked = told = time.monotonic()
        look = self._look * self._slower
        self._reconcile(first=True)
        if not self._places and not self._once:
            self._complain("no column has `sync: queue` yet; one that gets it is taken up.")
        before: _Told = (0, 0, ())
        try:
            while not stop.wait(pause(1)):
                now = time.monotonic()
                self._collect()
                if self._once:
                    if not self._crews:
                        break
                    continue
                if now - looked >= look:
                    looked = now
                    self._reconcile()
                if now - told >= self._every:
                    told = now
                    with suppress(*_AWAY):
                        before = self._report(before)
            for crew in self._crews.values():
                crew.halt.set()
            if not self._ended(self._finish):
                self._complain(
                    f"a batch took longer than {self._finish:.0f} s: it is undone, and its rows wait for the "
                    "next worker."
                )
        finally:
            self._abort()
            self._connections.close()
        self._collect()
        if self._once and self._refused is not None:
            raise self._refused
        return self._metrics(patient=True)

    def _ended(self, seconds: float) -> bool:
        """Waits for all crews, so many seconds at most; returns whether they have ended."""
        deadline = time.monotonic() + seconds
        while crews := [crew for crew in self._crews.values() if crew.alive]:
            if time.monotonic() >= deadline:
                return False
            crews[0].join(_STEP)
        return True

    def _abort(self) -> None:
        """Ends what is still at work: cancels its statements, or else cuts its lines."""
        for end in (_Crew.abort, _Crew.sever):
            if not self._ended(0):
                for crew in self._crews.values():
                    end(crew)
                self._ended(_UNDO)

    def _reconcile(self, *, first: bool = False) -> None:
        """Begins with the columns that are there, ends with those that are gone or vectorized otherwise.

        Those of a database that is away stay, but at the `first` time that is raised. Those of a ledger that
        is not azpg's own, as whoever may create a schema can make one, end.
        """
        wanted: dict[Place, Connect] = {}
        for name, connect in self._databases.items():
            try:
                with connect() as connection:
                    columns = ledger.columns(connection)
            except LedgerMismatch as error:
                if first and len(self._databases) == 1:
                    raise
                self._refused = error
                self._miss(name, error)
                columns = []
            except _AWAY as error:
                if first:
                    raise
                self._miss(name, error)
                columns = [column for database, column in self._places if database == name]
            else:
                self._away.pop(name, None)
            wanted.update({(name, column): connect for column in columns if column.sync is Sync.QUEUE})
        self._places = set(wanted)
        there = {(name, column.name) for name, column in wanted}
        self._stopped = {place: one for place, one in self._stopped.items() if place in there}
        now_applied = {place: place[1].applied for place in wanted}
        for place in [place for place in self._crews if now_applied.get(place) != place[1].applied]:
            self._crews[place].halt.set()
        now = time.monotonic()
        workers = max(1, self._options.workers // max(1, len(wanted)))
        for place, connect in wanted.items():
            if place not in self._crews and self._resting.get(place, now) <= now:
                self._crews[place] = self._crew(connect, place[1], workers)

    def _crew(self, connect: Connect, column: VectorColumn, workers: int) -> _Crew:
        return _Crew(
            connect,
            column,
            self._options,
            lambda hand, works: Queue(hand, slower=self._slower, works=works).work(once=self._once),
            workers=workers,
            connections=self._connections,
        )

    def _miss(self, database: str, error: Exception) -> None:
        """Says that a database is away, and why: each reason once, for one that shuts down is then gone."""
        why = f"{database}: {said(error)}." if isinstance(error, psycopg.Error) else str(error)
        reasons = self._away.setdefault(database, set())
        if why not in reasons:
            reasons.add(why)
            self._complain(f"{why} It is tried again every {self._look:.0f} s.")

    def _collect(self) -> None:
        """Counts what crews that are over have done, and says why those ended that had not been asked to."""
        for place, crew in list(self._crews.items()):
            name = (place[0], place[1].name)
            if crew.works.is_set() and self._stopped.pop(name, None) is not None:
                self._complain(f"{place[0]}: {place[1].name} is vectorized again.")
            if crew.alive:
                continue
            del self._crews[place]
            done = crew.progress
            self._gone = Progress(
                self._gone.embedded + done.embedded, 0, self._gone.failed + done.failed, 0.0
            )
            error = crew.errors[0] if crew.errors else None
            if error is None or isinstance(error, LedgerMismatch):  # the next look finds what it is now
                continue
            if self._once and not isinstance(error, Unbound):
                raise error
            if not isinstance(error, RowsFailed | TargetUnreachable | psycopg.Error):
                raise error
            self._resting[place] = time.monotonic() + self._rest
            self._note(place, error)

    def _note(self, place: Place, error: Exception) -> None:
        """Says why a column's work has stopped: each reason once, until it goes on."""
        database, column = place
        refused = RefusedColumn(database, column.schema, column.table, column.column, str(error))
        if self._stopped.get((database, column.name)) != refused:
            self._stopped[database, column.name] = refused
            again = "" if self._once else f" It is tried again every {self._rest:.0f} s."
            self._complain(f"{database}: {error}{again}")

    def _report(self, before: _Told) -> _Told:
        metrics = self._metrics()
        done = (metrics.embedded, metrics.failed, metrics.refused)
        if done != before or metrics.waiting:
            self._tell(metrics)
        return done

    def _metrics(self, *, patient: bool = False) -> Metrics:
        """`patient`: of a server that is away nothing is known to wait."""
        progress = [self._gone, *(crew.progress for crew in self._crews.values())]
        counts = [Waiting(0, None)]
        deadline = time.monotonic() + _COUNT
        for name, connect in self._databases.items():
            columns = [column for database, column in self._places if database == name]
            away = suppress(*_AWAY) if patient else nullcontext()
            if columns and name not in self._away and time.monotonic() < deadline:
                with away, connect() as connection:
                    for column in columns:
                        left = deadline - time.monotonic()
                        if left <= 0:
                            break
                        connection.execute(_LIMITS, [f"{left * 1000:.0f}ms", LOCK_TIMEOUT])
                        with suppress(*_OWN):  # one column's trouble is said when its queue is drained
                            counts.append(waiting(connection, column))
        return Metrics(
            len(self._places),
            sum(one.embedded for one in progress),
            sum(one.failed for one in progress),
            sum(one.entries for one in counts),
            max((one.oldest for one in counts if one.oldest is not None), default=None),
            tuple(self._stopped.values()),
        )


class _Crew(Crew):
    """The workers of one column, with what they have done.

    Attributes:
        works: set as soon as one of them has done a statement, so that nothing stands in their way.
    """

    def __init__(
        self,
        connect: Connect,
        column: VectorColumn,
        options: Options,
        work: Callable[[Hand, threading.Event], None],
        *,
        workers: int,
        connections: Connections,
    ) -> None:
        self.works = threading.Event()
        self.progress = Progress(0, 0, 0, 0.0)
        tally = Tally(options, self._tell)
        super().__init__(
            connect,
            column,
            options,
            tally,
            lambda hand: work(hand, self.works),
            workers=workers,
            connections=connections,
        )

    def _tell(self, progress: Progress) -> None:
        self.progress = progress
