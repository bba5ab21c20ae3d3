"""The one thread that computes: takes micro-batches from the scheduler and runs the model."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import onnxruntime

from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.errors import EmbeddingCancelled, RuntimeTwinError
from azpg_runtime.host.scheduler import Batch, Job, Scheduler

EmbeddingJob = Job[Embedder]


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


class Engine:
    """Runs jobs on a thread of its own.

    `Job.finish` is called on that thread. `stop` waits for the run that is under way.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self._scheduler: Scheduler[Embedder] = Scheduler()
        self._wake = threading.Condition()
        self._running: Batch[Embedder] | None = None
        self._again: deque[Batch[Embedder]] = deque()
        self._options = onnxruntime.RunOptions()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

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
            if self._running is not None and self._running.abandoned:
                self._options.terminate = True

    def stop(self) -> None:
        """Ends the thread; jobs that wait are never finished."""
        with self._wake:
            self._stopping = True
            self._options.terminate = True
            self._wake.notify()
        self._thread.join()

    def _take(self) -> Batch[Embedder] | None:
        with self._wake:
            while not self._stopping:
                batch = self._repeated() or self._scheduler.next()
                if batch is not None:
                    self._options = onnxruntime.RunOptions()
                    self._running = batch
                    return batch
                self._wake.wait()
            return None

    def _work(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Takes a batch and runs it; False when the engine stops. Keeps nothing of it: models may go."""
        batch = self._take()
        if batch is None:
            return False
        try:
            self._run(batch)
        except EmbeddingCancelled:
            with self._wake:
                self.counters.terminated_runs += 1
                self.counters.dropped_texts += len(batch.items)
        except Exception as error:  # a failed run must reach its callers, not end the thread
            self._fail(batch, error)
        finally:
            with self._wake:
                self._running = None
        return True

    def _run(self, batch: Batch[Embedder]) -> None:
        ids = batch.ids
        begun = time.perf_counter()
        rows = batch.model.session.run(ids, terminate=self._options)
        self.counters.seconds += time.perf_counter() - begun
        self.counters.runs += 1
        self.counters.texts += len(ids)
        self.counters.tokens += sum(map(len, ids))
        self.counters.padded_tokens += len(ids) * max(map(len, ids))
        for job in batch.deliver(rows):
            job.finish(None)

    def _repeated(self) -> Batch[Embedder] | None:
        """A part of a failed run that somebody still waits for."""
        while self._again:
            batch = self._again.popleft()
            if not batch.abandoned:
                return batch
            self.counters.dropped_texts += len(batch.items)
        return None

    def _fail(self, batch: Batch[Embedder], error: Exception) -> None:
        """Ends the job whose texts the model refuses; where several shared the run, each runs alone next."""
        parts = batch.parts()
        if len(parts) > 1:
            self._again.extend(parts)
            return
        job, _ = batch.items[0]
        with self._wake:
            self.counters.dropped_texts += len(batch.items)
            if job.over:
                return
            self._forget(job)
        if not isinstance(error, RuntimeTwinError):
            error = RuntimeTwinError(f"the model failed: {error}")
        job.finish(error)

    def _forget(self, job: EmbeddingJob) -> None:
        self.counters.dropped_texts += sum(map(len, job.batches))
        job.batches.clear()
        self._scheduler.drop(job)
