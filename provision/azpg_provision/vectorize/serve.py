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
from azpg_provision.vectorize.queue import Waiting, drain, waiting
from azpg_provision.vectorize.trouble import pause, said
from azpg_provision.vectorize.work import Connect, Options, Progress

LOOK = 5.0
"""Seconds between two looks at which columns there are."""
_REST = 60.0
"""Seconds after which a column is tried again whose work could not go on."""

_AWAY = (psycopg.Error, TargetUnreachable)
"""What a server that is away now raises: it is asked again later."""

Place = tuple[str, VectorColumn]
"""A column and the name of its database."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a worker has done since it began, and what waits, in all its databases.

    Attributes:
        columns: how many queues it drains.
        embedded, failed: rows.
        waiting: entries in the queues.
        oldest: seconds for which the first of them has waited; None if there is none.
    """

    columns: int
    embedded: int
    failed: int
    waiting: int
    oldest: float | None


class Service:
    """A worker for all queues of some databases.

    Args:
        databases: how to connect to each, by name; in autocommit.
        options: see `Options`; `workers` is for each column. `attempts` counts with `once` only.
        once: drain and leave, instead of waiting for more.
        tell: told the metrics every `every` seconds in which something was done.
        complain: told in a sentence what cannot go on.
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
    ) -> None:
        self._databases = databases
        self._options = options if once else replace(options, attempts=0)
        self._once = once
        self._tell = tell
        self._complain = complain
        self._every = every
        self._crews: dict[Place, _Crew] = {}
        self._abort = threading.Event()
        self._places: set[Place] = set()
        self._resting: dict[Place, float] = {}
        self._away: set[str] = set()
        self._gone = Progress(0, 0, 0, 0.0)

    def run(self, stop: threading.Event) -> Metrics:
        """Works until `stop` is set, or with `once` until nothing waits; returns the last metrics.

        A KeyboardInterrupt undoes the batches at hand. Raises what connecting raises at the first time, with
        `once` also what stops a column's work.
        """
        looked = told = time.monotonic()
        self._reconcile(first=True)
        if not self._places and not self._once:
            self._complain("no column has `sync: queue` yet; one that gets it is taken up.")
        before = (0, 0)
        try:
            while not stop.wait(pause(1)):
                now = time.monotonic()
                self._collect()
                if self._once:
                    if not self._crews:
                        break
                    continue
                if now - looked >= LOOK:
                    looked = now
                    self._reconcile()
                if now - told >= self._every:
                    told = now
                    with suppress(*_AWAY):
                        before = self._report(before)
        except BaseException:
            self._abort.set()
            raise
        finally:
            for crew in self._crews.values():
                crew.stop.set()
            for crew in self._crews.values():
                crew.thread.join()
        self._collect()
        return self._metrics(patient=True)

    def _reconcile(self, *, first: bool = False) -> None:
        """Begins with the columns that are there, ends with those that are gone or vectorized otherwise.

        Those of a database that is away stay, but at the `first` time that is raised.
        """
        wanted: dict[Place, Connect] = {}
        for name, connect in self._databases.items():
            try:
                with connect() as connection:
                    columns = ledger.columns(connection)
            except _AWAY as error:
                if first:
                    raise
                self._miss(name, error)
                columns = [column for database, column in self._places if database == name]
            else:
                self._away.discard(name)
            wanted.update({(name, column): connect for column in columns if column.sync is Sync.QUEUE})
        self._places = set(wanted)
        for place in [place for place in self._crews if place not in wanted]:
            self._crews[place].stop.set()
        now = time.monotonic()
        for place, connect in wanted.items():
            if place not in self._crews and self._resting.get(place, now) <= now:
                self._crews[place] = _Crew(connect, place[1], self._options, self._abort, once=self._once)

    def _miss(self, database: str, error: Exception) -> None:
        """Says once that a database is away, and why."""
        if database not in self._away:
            self._away.add(database)
            why = f"{database}: {said(error)}." if isinstance(error, psycopg.Error) else str(error)
            self._complain(f"{why} It is tried again every {LOOK:.0f} s.")

    def _collect(self) -> None:
        """Counts what crews that are over have done, and says why those ended that had not been asked to."""
        for place, crew in list(self._crews.items()):
            if crew.thread.is_alive():
                continue
            del self._crews[place]
            done = crew.progress
            self._gone = Progress(
                self._gone.embedded + done.embedded, 0, self._gone.failed + done.failed, 0.0
            )
            error = crew.error
            if error is None or isinstance(error, LedgerMismatch):  # the next look finds what it is now
                continue
            if self._once or not isinstance(error, RowsFailed | TargetUnreachable | psycopg.Error):
                raise error
            self._resting[place] = time.monotonic() + _REST
            self._complain(f"{place[0]}: {error} It is tried again in {_REST:.0f} s.")

    def _report(self, before: tuple[int, int]) -> tuple[int, int]:
        metrics = self._metrics()
        done = (metrics.embedded, metrics.failed)
        if done != before or metrics.waiting:
            self._tell(metrics)
        return done

    def _metrics(self, *, patient: bool = False) -> Metrics:
        """`patient`: of a server that is away nothing is known to wait."""
        progress = [self._gone, *(crew.progress for crew in self._crews.values())]
        counts = [Waiting(0, None)]
        for name, connect in self._databases.items():
            columns = [column for database, column in self._places if database == name]
            away = suppress(*_AWAY) if patient else nullcontext()
            if columns and name not in self._away:
                with away, connect() as connection:
                    counts.extend(waiting(connection, column) for column in columns)
        return Metrics(
            len(self._places),
            sum(one.embedded for one in progress),
            sum(one.failed for one in progress),
            sum(one.entries for one in counts),
            max((one.oldest for one in counts if one.oldest is not None), default=None),
        )


class _Crew:
    """The workers of one column, on threads of their own."""

    def __init__(
        self, connect: Connect, column: VectorColumn, options: Options, abort: threading.Event, *, once: bool
    ) -> None:
        self.stop = threading.Event()
        self.progress = Progress(0, 0, 0, 0.0)
        self.error: Exception | None = None
        self._arguments = (connect, column, options)
        self._abort = abort
        self._once = once
        self.thread = threading.Thread(target=self._run, name="azpg-crew")
        self.thread.start()

    def _run(self) -> None:
        def tell(progress: Progress) -> None:
            self.progress = progress

        try:
            drain(*self._arguments, tell=tell, stop=self.stop, abort=self._abort, once=self._once)
        except Exception as error:  # it is raised, or told, where the crews are looked after
            self.error = error
