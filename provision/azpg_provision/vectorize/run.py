"""A run: several workers on one column, until every row has its embedding."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.vectorize import claims, model
from azpg_provision.vectorize.connections import Connections
from azpg_provision.vectorize.hand import Hand, Stopped, TooMuch
from azpg_provision.vectorize.ranges import Ranges
from azpg_provision.vectorize.trouble import pause
from azpg_provision.vectorize.work import Connect, Options, Outcome, Tally, Tell, ignore, silent

_LOOK = 0.05
"""Seconds between two looks at whether the run is to stop."""


def run(
    connect: Connect,
    column: VectorColumn,
    options: Options | None = None,
    *,
    tell: Tell = silent,
    say: Callable[[str], None] = ignore,
    stop: threading.Event | None = None,
    connections: Connections | None = None,
) -> Outcome:
    """Gives every row of a column its embedding that has none, or one of another text, prefix or model.

    Every batch is committed, so that a killed run is gone on with by the next; several runs at once share the
    work. Rows whose failure is recorded are left alone until they change, or `failures.forget`.

    Args:
        connect: opens connections in autocommit; one is open for each worker.
        column: as the ledger has it.
        options: see `Options`.
        tell: called after each batch, by one thread at a time.
        say: told what is waited for: a sentence without its full stop.
        stop: when it is set, the batches at hand are finished and the rest is left.
        connections: those of before, where there is one run after another; None for its own. `connect` is the
            same object each time then.

    Raises `PlanRefused` before the first row where the model or the column does not fit, `RowsFailed` when
    the work cannot go on, `LedgerMismatch`. A KeyboardInterrupt undoes the batches at hand.
    """
    options = options or Options()
    stop = stop or threading.Event()
    if column.sync is Sync.GENERATED:  # PostgreSQL's own work
        return Outcome(0, 0, 0)
    tally = Tally(options, tell, say)
    own = Connections(options.workers) if connections is None else None
    shared = connections or own
    assert shared is not None
    try:
        for passed in range(options.passes):
            with shared.lend(connect, threading.Event()) as session:
                if not passed:
                    model.check(session, column)
                goal = claims.goal(session.connection, column)
            tally.new_pass()
            work = partial(_work_at_ranges, goal)
            crew = Crew(connect, column, options, tally, work, workers=options.workers, connections=shared)
            work_through(crew, stop)
            if not tally.skipped or stop.wait(pause(passed + 1)):
                break
    finally:
        if own is not None:
            own.close()
    return tally.outcome()


def _work_at_ranges(goal: int, hand: Hand) -> None:
    Ranges(hand, goal).work()


class Crew:
    """Workers that do `work` side by side, each on a thread of its own.

    Args:
        connect, column, options, tally: see `Hand`.
        work: what each of them does.
        workers: how many.
        connections: those that they have in turn.

    Attributes:
        halt: when it is set, they end after the statements at hand; it is, after an error of any of them.
        errors: theirs.
    """

    def __init__(
        self,
        connect: Connect,
        column: VectorColumn,
        options: Options,
        tally: Tally,
        work: Callable[[Hand], None],
        *,
        workers: int,
        connections: Connections,
    ) -> None:
        self.halt = threading.Event()
        self.errors: list[BaseException] = []
        self._hands = [Hand(connect, column, options, tally, self.halt, connections) for _ in range(workers)]
        self._work = work
        self._threads = [
            threading.Thread(target=self._labour, args=[hand], name="azpg-worker") for hand in self._hands
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether any of them is still at it."""
        return any(thread.is_alive() for thread in self._threads)

    def abort(self) -> None:
        """Ends them in the midst of their statements, which are undone."""
        self.halt.set()
        for hand in self._hands:
            hand.abort()

    def sever(self) -> None:
        """Ends what even that does not end, such as a trigger that catches it: their connections are cut."""
        for hand in self._hands:
            hand.sever()

    def join(self, timeout: float | None = None) -> None:
        """Waits for each of them, so many seconds at most."""
        for thread in self._threads:
            thread.join(timeout)

    def _labour(self, hand: Hand) -> None:
        try:
            self._work(hand)
        except Stopped:
            pass
        except TooMuch as error:  # such as a statement that somebody cancels while it takes a claim
            self.errors.append(hand.stuck(str(error)))
            self.halt.set()
        except BaseException as error:  # it is raised where it is waited for
            self.errors.append(error)
            self.halt.set()


def work_through(crew: Crew, stop: threading.Event, abort: threading.Event | None = None) -> None:
    """Waits until a crew has done its work. Raises the first error of any of them.

    `stop` ends it after the statements at hand, `abort` and a KeyboardInterrupt in the midst of them.
    """
    try:
        while crew.alive:
            if stop.is_set():
                crew.halt.set()
            if abort is not None and abort.is_set():
                crew.abort()
            crew.join(_LOOK)
    except BaseException:
        crew.abort()
        raise
    finally:
        crew.join()
    if crew.errors:
        raise crew.errors[0]
