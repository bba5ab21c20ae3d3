"""A thread on which long pieces of work take turns."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(slots=True)
class _Work:
    steps: Generator[None, None, Any]
    future: Future[Any]


class Turns:
    """Runs generators on one thread, one step of each in turn.

    A piece of work of s steps that finds n others there is over after at most s * (n + 1) steps, however
    long the others are. Whoever writes the steps sees to it that each is short.
    """

    def __init__(self, name: str) -> None:
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, steps: Generator[None, None, Result]) -> Future[Result]:
        """Queues a piece of work, whose result is what it returns.

        A future that is cancelled ends it after the step that runs.
        """
        work = _Work(steps, Future())
        self._waiting.put(work)
        return work.future

    def stop(self) -> None:
        """Ends the thread after the step that runs; the rest is never done."""
        self._stopping = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Gives one piece of work its turn; False when there are to be no more. Keeps nothing of it."""
        work = self._waiting.get()
        if work is None or self._stopping:
            return False
        if work.future.cancelled():
            work.steps.close()
        elif _step(work):
            self._waiting.put(work)
        return True


def _step(work: _Work) -> bool:
    """Takes one step; False if it was the last."""
    with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
        try:
            next(work.steps)
        except StopIteration as end:
            work.future.set_result(end.value)
        except Exception as error:
            work.future.set_exception(error)
        else:
            return True
    return False
