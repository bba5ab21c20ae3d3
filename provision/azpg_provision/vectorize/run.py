"""A run: several workers on one column, until every row has its embedding."""

from __future__ import annotations

import threading
from collections.abc import Callable

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.vectorize import claims, model
from azpg_provision.vectorize.hand import Hand, Stopped, TooMuch
from azpg_provision.vectorize.ranges import Ranges
from azpg_provision.vectorize.trouble import pause, said
from azpg_provision.vectorize.work import Connect, Options, Outcome, Tally, Tell, silent

_LOOK = 0.05
"""Seconds between two looks at whether the run is to stop."""


def run(
    connect: Connect,
    column: VectorColumn,
    options: Options | None = None,
    *,
    tell: Tell = silent,
    stop: threading.Event | None = None,
) -> Outcome:
    """Gives every row of a column its embedding that has none, or one of another text, prefix or model.

    Every batch is committed, so that a killed run is gone on with by the next; several runs at once share the
    work. Rows whose failure is recorded are left alone until they change, or `failures.forget`.

    Args:
        connect: opens connections in autocommit; one is open for each worker.
        column: as the ledger has it.
        options: see `Options`.
        tell: called after each batch, by one thread at a time.
        stop: when it is set, the batches at hand are finished and the rest is left.

    Raises `PlanRefused` before the first row where the model or the column does not fit, `RowsFailed` when
    the work cannot go on, `LedgerMismatch`. A KeyboardInterrupt undoes the batches at hand.
    """
    options = options or Options()
    stop = stop or threading.Event()
    if column.sync is Sync.GENERATED:  # PostgreSQL's own work
        return Outcome(0, 0, 0)
    tally = Tally(options, tell)
    for passed in range(options.passes):
        with connect() as connection:
            if not passed:
                model.check(connection, column)
            goal = claims.goal(connection, column)
        tally.new_pass()
        crew(connect, column, options, tally, lambda hand: Ranges(hand, goal).work(), stop)  # noqa: B023
        if not tally.skipped or stop.wait(pause(passed + 1)):
            break
    return tally.outcome()


def crew(
    connect: Connect,
    column: VectorColumn,
    options: Options,
    tally: Tally,
    work: Callable[[Hand], None],
    stop: threading.Event,
    abort: threading.Event | None = None,
) -> None:
    """Lets `options.workers` do `work` side by side. Raises the first error of any of them.

    `stop` ends it after the statements at hand, `abort` and a KeyboardInterrupt in the midst of them.
    """
    halt = threading.Event()
    hands = [Hand(connect, column, options, tally, halt) for _ in range(options.workers)]
    errors: list[BaseException] = []

    def labour(hand: Hand) -> None:
        try:
            work(hand)
        except Stopped:
            pass
        except TooMuch as error:  # of what has no fewer rows, such as the note of a row's failure
            errors.append(hand.stuck(said(error.cause)))
            halt.set()
        except BaseException as error:  # it is raised where it is waited for
            errors.append(error)
            halt.set()
        finally:
            hand.close()

    threads = [threading.Thread(target=labour, args=[hand], name="azpg-worker") for hand in hands]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            if stop.is_set():
                halt.set()
            if abort is not None and abort.is_set():
                _abort(hands, halt)
            for thread in threads:
                thread.join(_LOOK)
    except BaseException:
        _abort(hands, halt)
        raise
    finally:
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _abort(hands: list[Hand], halt: threading.Event) -> None:
    halt.set()
    for hand in hands:
        hand.abort()
