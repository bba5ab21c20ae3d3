"""A thread on which long pieces of work take turns."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

Result = TypeVar("Result")

_LAST_STEP = 1.0
"""Seconds that the step under way is waited for when all is to end; a text may keep a library for hours."""


class Turns:
    """Runs generators on one thread, one step of each in turn.

    A piece of work of s steps that finds n others there is over after at most s * (n + 1) steps, however
    long the others are. Whoever writes the steps sees to it that each is short.
    """

    def __init__(self, name: str) -> None:
        self._waiting: deque[Work] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, steps: Generator[None, None, Result]) -> Future[Result]:
        """Queues a piece of work, whose result is what it returns.

        A future that is cancelled ends it: at once if it waits for its turn, else after the step that runs.
        """
        work = Work(steps, self)
        self._add(work)
        return work

    def stop(self) -> None:
        """Ends the thread after the step that runs, and soon returns; the rest is never done."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(_LAST_STEP)

    def forget(self, work: Work) -> None:
        """Frees what cancelled work holds; while it has its turn, that is for the thread to do."""
        with self._wake:
            if work not in self._waiting:
                return
            self._waiting.remove(work)
        work.steps.close()

    def _add(self, work: Work) -> None:
        with self._wake:
            self._waiting.append(work)
            self._wake.notify()

    def _run(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Gives one piece of work its turn; False when there are to be no more. Keeps nothing of it."""
        with self._wake:
            while not self._waiting and not self._stopping:
                self._wake.wait()
            if self._stopping:
                return False
            work = self._waiting.popleft()
        if work.cancelled():
            work.steps.close()
        elif work.step():
            self._add(work)
            if work.cancelled():  # while it had its turn
                self.forget(work)
        return True


class Work(Future[Any]):
    """A future, and what there is to do for it."""

    def __init__(self, steps: Generator[None, None, Any], turns: Turns) -> None:
        super().__init__()
        self.steps = steps
        self._turns = turns

    def cancel(self) -> bool:
        """See `Future.cancel`; frees what the work holds."""
        cancelled = super().cancel()
        if cancelled:
            self._turns.forget(self)
        return cancelled

    def step(self) -> bool:
        """Takes one step; False if it was the last."""
        with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
            try:
                next(self.steps)
            except StopIteration as end:
                self.set_result(end.value)
            except BaseException as error:  # a library's panic is no Exception, and ends one's work, too
                self.set_exception(error)
            else:
                return True
        return False
