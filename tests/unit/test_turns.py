"""A thread on which work takes turns: fair, cancellable, and it outlives what fails."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError

import pytest

from azpg_runtime.host.turns import Turns
from azpg_runtime.wait import wait_for

PATIENCE = 20.0


@pytest.fixture
def turns() -> Iterator[Turns]:
    turns = Turns("test")
    yield turns
    turns.stop()


class Gate:
    """Work that holds the thread until it is let go, so that others queue behind it."""

    def __init__(self, turns: Turns) -> None:
        self._begun, self._free = threading.Event(), threading.Event()
        self._future = turns.submit(self._steps())
        assert self._begun.wait(PATIENCE)

    def _steps(self) -> Generator[None, None, None]:
        self._begun.set()
        assert self._free.wait(PATIENCE)
        return
        yield

    def open(self) -> None:
        self._free.set()
        self._future.result(PATIENCE)


def counted(name: str, steps: int, log: list[str]) -> Generator[None, None, str]:
    for _ in range(steps):
        log.append(name)
        yield
    return name


def test_the_result_is_what_the_work_returns(turns: Turns) -> None:
    assert turns.submit(counted("a", 3, [])).result(PATIENCE) == "a"


def test_work_takes_turns_in_the_order_it_came(turns: Turns) -> None:
    log: list[str] = []
    gate = Gate(turns)
    futures = [turns.submit(counted(name, steps, log)) for name, steps in (("huge", 9), ("a", 1), ("b", 3))]
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == ["huge", "a", "b"]
    assert "".join(name[0] for name in log) == "habhbhbhhhhhh"


def test_small_work_beside_huge_work_waits_for_one_step_of_it(turns: Turns) -> None:
    log: list[str] = []
    gate = Gate(turns)
    huge = turns.submit(counted("huge", 10**9, log))
    small = [turns.submit(counted(f"small {number}", 2, log)) for number in range(5)]
    gate.open()
    for future in small:
        future.result(PATIENCE)
    assert log.index("small 4") < 2 * 6
    huge.cancel()


def test_cancelled_work_ends_after_its_step_and_is_closed(turns: Turns) -> None:
    closed = threading.Event()
    log: list[str] = []

    def steps() -> Generator[None, None, None]:
        try:
            yield from counted("long", 10**9, log)
        finally:
            closed.set()

    future = turns.submit(steps())
    assert wait_for(lambda: bool(log), timeout=PATIENCE)
    assert future.cancel()
    assert closed.wait(PATIENCE)
    with pytest.raises(CancelledError):
        future.result(PATIENCE)


def test_work_that_is_cancelled_in_its_last_step_disturbs_nobody(turns: Turns) -> None:
    begun, free = threading.Event(), threading.Event()

    def steps() -> Generator[None, None, None]:
        begun.set()
        assert free.wait(PATIENCE)
        return
        yield

    future = turns.submit(steps())
    assert begun.wait(PATIENCE)
    future.cancel()
    free.set()
    assert turns.submit(counted("next", 1, [])).result(PATIENCE) == "next"


def test_work_that_is_cancelled_while_it_waits_is_closed_at_once(turns: Turns) -> None:
    """A step of another may take hours: what waits behind it must not be kept as long."""
    gate, closed, log = Gate(turns), threading.Event(), list[str]()

    def steps() -> Generator[None, None, None]:
        try:
            yield
            yield from counted("waits", 10**9, log)
        finally:
            closed.set()

    work = steps()
    next(work)  # it has begun, and so has something to free
    future = turns.submit(work)
    assert future.cancel()
    assert closed.is_set()
    assert not future.cancel() or future.cancelled()
    gate.open()
    assert turns.submit(counted("next", 1, [])).result(PATIENCE) == "next"
    assert log == []


def test_nothing_is_kept_of_what_is_over(turns: Turns) -> None:
    class Result:
        pass

    def steps() -> Generator[None, None, Result]:
        yield
        return Result()

    gc.disable()
    try:
        kept = weakref.ref(turns.submit(steps()).result(PATIENCE))
        turns.submit(counted("next", 1, [])).result(PATIENCE)
        assert kept() is None
    finally:
        gc.enable()


def test_stopping_does_not_wait_for_a_step_without_an_end() -> None:
    turns = Turns("stuck")
    gate = Gate(turns)
    turns.stop()
    assert "stuck" in {thread.name for thread in threading.enumerate()}
    gate.open()
    assert wait_for(
        lambda: "stuck" not in {thread.name for thread in threading.enumerate()}, timeout=PATIENCE
    )


def test_what_fails_tells_who_asked_and_nobody_else(turns: Turns) -> None:
    def fails() -> Generator[None, None, None]:
        yield
        raise LookupError("boom")

    gate = Gate(turns)
    failing, other = turns.submit(fails()), turns.submit(counted("other", 3, []))
    gate.open()
    with pytest.raises(LookupError, match="boom"):
        failing.result(PATIENCE)
    assert other.result(PATIENCE) == "other"


def test_stopping_ends_the_thread_and_finishes_nobody() -> None:
    turns = Turns("stops")
    log: list[str] = []
    future = turns.submit(counted("long", 10**9, log))
    assert wait_for(lambda: bool(log), timeout=PATIENCE)
    turns.stop()
    assert not future.done()
    assert "stops" not in {thread.name for thread in threading.enumerate()}
