"""The thread that computes: takes micro-batches from the scheduler and runs the model.

One run at a time has all processors. But a run of more than `LONG` seconds may have no end, for graphs can
loop: from then on another thread runs the other models, while this run goes on beside them until it ends, or
until nobody waits for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnxruntime

from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.errors import EmbeddingCancelled, RuntimeTwinError
from azpg_runtime.host.scheduler import Batch, Job, Scheduler

EmbeddingJob = Job[Embedder]

LONG = 2.0
"""Seconds of a run for which the runs of other models wait, and up to as many more until that is noticed."""

_MOST_LONG = 8
"""Runs that may take longer without the others waiting for them; each has threads of its own."""


@dataclass(slots=True)
class Counters:
    """What the engine has done since the host started.

    A text counts among `texts` when the model has run it, or else among `dropped_texts`, once; `seconds` are
    those that the runs took which are counted in `runs`.
    """

    texts: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    runs: int = 0
    terminated_runs: int = 0
    dropped_texts: int = 0
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _Run:
    """A batch under way.

    Attributes:
        options: of ONNX Runtime; its `terminate` ends the run.
        begun: by the clock of `time.monotonic`.
    """

    batch: Batch[Embedder]
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)
    begun: float = field(default_factory=time.monotonic)


class Engine:
    """Runs jobs on threads of its own: on one, as long as no run takes very long.

    `Job.finish` is called on such a thread, `Job.release` there or in `drop`: whoever submits a job drops it
    in the end, however it ended. `stop` waits for the runs that are under way.

    Args:
        long: seconds; see `LONG`.
    """

    def __init__(self, *, long: float = LONG) -> None:
        self.counters = Counters()
        self._scheduler: Scheduler[Embedder] = Scheduler()
        self._wake = threading.Condition()
        self._runs: list[_Run] = []
        self._again: deque[Batch[Embedder]] = deque()
        self._long = long
        self._workers: set[threading.Thread] = set()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._relieve, name="engine-watch", daemon=True)
        self._watch.start()
        with self._wake:
            self._hire()

    @property
    def waiting(self) -> int:
        """Jobs with texts that no run has taken yet."""
        with self._wake:
            return len(self._scheduler)

    def submit(self, job: EmbeddingJob) -> None:
        """Queues a job of at least one text."""
        with self._wake:
            self._scheduler.add(job)
            self._wake.notify()

    def drop(self, job: EmbeddingJob) -> None:
        """Stops computing a job: what has not run is forgotten, what runs for nobody else is ended."""
        with self._wake:
            if job.over:
                return
            self._forget(job)
            runs = [run for run in self._runs if run.batch.has(job)]
            self._end(run for run in runs if run.batch.abandoned)
        if not runs:
            job.release()

    def stop(self) -> None:
        """Ends the threads; jobs that wait are never finished."""
        with self._wake:
            self._stopping.set()
            self._end(self._runs)
            self._wake.notify_all()
            workers = set(self._workers)
        for thread in (self._watch, *workers):
            thread.join()

    @staticmethod
    def _end(runs: Iterable[_Run]) -> None:
        for run in runs:
            run.options.terminate = True

    # The threads

    def _hire(self) -> None:
        """Starts a thread, under the lock. Raises `RuntimeError` where the system allows no more."""
        thread = threading.Thread(target=self._work, name="engine", daemon=True)
        thread.start()
        self._workers.add(thread)

    def _relieve(self) -> None:
        """Starts another thread whenever those that there are have all had a run for long."""
        while not self._stopping.wait(self._long):
            with self._wake:
                if self._free() == 0 and len(self._workers) <= _MOST_LONG:
                    with contextlib.suppress(RuntimeError):  # then the next time
                        self._hire()

    def _free(self) -> int:
        """How many threads have not had a run for long."""
        now = time.monotonic()
        return len(self._workers) - sum(now - run.begun >= self._long for run in self._runs)

    def _work(self) -> None:
        while self._next():
            pass

    def _take(self) -> _Run | None:
        """What to run next; None for a thread that is needed no more."""
        with self._wake:
            while not self._stopping.is_set() and self._free() <= 1:
                busy = [run.batch.model for run in self._runs]
                batch = self._repeated(busy) or self._scheduler.next(busy=busy)
                if batch is not None:
                    run = _Run(batch)
                    self._runs.append(run)
                    return run
                self._wake.wait()
            self._workers.discard(threading.current_thread())
            return None

    def _next(self) -> bool:
        """Takes a batch and runs it; False when the thread is to end. Keeps nothing of it: models may go."""
        run = self._take()
        if run is None:
            return False
        try:
            self._run(run)
        except EmbeddingCancelled:
            with self._wake:
                self.counters.terminated_runs += 1
                self.counters.dropped_texts += len(run.batch.items)
        except BaseException as error:  # a failed run must reach its callers, not end the thread
            self._fail(run.batch, error)
        return True

    def _run(self, run: _Run) -> None:
        batch = run.batch
        ids = batch.ids
        begun = time.perf_counter()
        try:
            rows = batch.model.session.run(ids, terminate=run.options)
        except BaseException:
            self._ended(run)
            raise
        self._ended(run, time.perf_counter() - begun)
        for job in batch.deliver(rows):
            job.finish(None)

    def _ended(self, run: _Run, seconds: float | None = None) -> None:
        """After a run, which took so long if it did not fail.

        Its jobs that were dropped meanwhile have no use for the model any more.
        """
        with self._wake:
            self._runs.remove(run)
            if len(self._workers) > 1:
                self._wake.notify()  # the thread that stood in may run this model, too
            if seconds is not None:
                counters, ids = self.counters, run.batch.ids
                counters.seconds += seconds
                counters.runs += 1
                counters.texts += len(ids)
                counters.tokens += sum(map(len, ids))
                counters.padded_tokens += len(ids) * max(map(len, ids))
            dropped = [job for job in run.batch.jobs if job.over]
        for job in dropped:
            job.release()

    def _repeated(self, busy: list[Embedder]) -> Batch[Embedder] | None:
        """A part of a failed run that somebody still waits for, of a model that is not busy."""
        for _ in range(len(self._again)):
            batch = self._again.popleft()
            if batch.abandoned:
                self.counters.dropped_texts += len(batch.items)
            elif any(batch.model is one for one in busy):
                self._again.append(batch)
            else:
                return batch
        return None

    def _fail(self, batch: Batch[Embedder], error: BaseException) -> None:
        """Ends the job whose texts the model refuses; where several shared the run, each runs alone next."""
        parts = batch.parts()
        if len(parts) > 1:
            with self._wake:
                self._again.extend(parts)
                self._wake.notify()  # this thread may be needed no more
            return
        job, _ = batch.items[0]
        with self._wake:
            self.counters.dropped_texts += len(batch.items)
            if job.over:
                return
            self._forget(job)
        job.release()
        if not isinstance(error, RuntimeTwinError):
            error = RuntimeTwinError(f"the model failed: {error}")
        job.finish(error)

    def _forget(self, job: EmbeddingJob) -> None:
        self.counters.dropped_texts += sum(map(len, job.batches))
        job.batches.clear()
        self._scheduler.drop(job)
