"""Which texts run next: fair between requests, merged where that is free. No threads, no clock, no I/O.

A job is one request's texts, already tokenised, packed into micro-batches by
`azpg_runtime.embedding.batching`. Jobs take turns, one micro-batch each, so that a single text waits for
a few micro-batches and never for another session's whole array. Where the micro-batch whose turn it is
leaves room, the next micro-batches of other jobs join it, as long as the padding that costs is less than
the run it saves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET
from azpg_runtime.errors import HostBusy

Model = TypeVar("Model")
Ids = npt.NDArray[np.int64]
Outcome = npt.NDArray[np.float32] | Exception
"""What a job ends with: its vectors, or why there are none."""

MAX_JOBS = 1024
"""Requests that may wait at the same moment; one more is refused."""


@dataclass(eq=False, slots=True)
class Job(Generic[Model]):
    """One request's texts.

    Attributes:
        model: what embeds them; only jobs of one model share a run.
        ids: the token ids of each text.
        batches: what runs at once: places in `ids`, each of them once.
        finish: called once with the matrix of shape (len(ids), dimensions), or with the error that ended it.
    """

    model: Model
    ids: Sequence[Ids]
    batches: deque[list[int]]
    finish: Callable[[Outcome], None]
    matrix: npt.NDArray[np.float32] | None = None
    remaining: int = field(init=False)
    over: bool = False

    def __post_init__(self) -> None:
        self.remaining = len(self.ids)


@dataclass(slots=True)
class Batch(Generic[Model]):
    """One run: texts of one model, each with the job it belongs to and its place in it."""

    model: Model
    items: list[tuple[Job[Model], int]]

    @property
    def ids(self) -> list[Ids]:
        """The token ids of each text, in the order of `items`."""
        return [job.ids[index] for job, index in self.items]

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for any of these texts."""
        return all(job.over for job, _ in self.items)

    def parts(self) -> list[Batch[Model]]:
        """A batch of its own for each job that shares this one."""
        shares: dict[int, list[tuple[Job[Model], int]]] = {}
        for job, index in self.items:
            shares.setdefault(id(job), []).append((job, index))
        return [Batch(self.model, items) for items in shares.values()]

    def deliver(self, rows: npt.NDArray[np.float32]) -> list[Job[Model]]:
        """Hands each row of shape (dimensions,) to its job, and returns the jobs that are complete now."""
        complete = []
        for (job, index), row in zip(self.items, rows, strict=True):
            if job.matrix is None:
                job.matrix = np.empty((len(job.ids), rows.shape[1]), dtype=np.float32)
            job.matrix[index] = row
            job.remaining -= 1
            if job.remaining == 0 and not job.over:
                complete.append(job)
        return complete


class Scheduler(Generic[Model]):
    """The jobs that wait, in turn."""

    def __init__(self, *, max_jobs: int = MAX_JOBS) -> None:
        self._turns: deque[Job[Model]] = deque()
        self._max_jobs = max_jobs

    def __len__(self) -> int:
        """Jobs with texts that have not been handed out yet."""
        return len(self._turns)

    def add(self, job: Job[Model]) -> None:
        """Lets `job` wait for its turn. Raises `HostBusy` when too many do."""
        if len(self._turns) >= self._max_jobs:
            raise HostBusy(
                f"the model host already has {self._max_jobs} requests waiting",
                hint="Repeat the call later, or use fewer sessions with larger arrays.",
            )
        self._turns.append(job)

    def drop(self, job: Job[Model]) -> None:
        """Forgets a job: nobody waits for it. What already runs is not affected."""
        job.over = True
        if job in self._turns:
            self._turns.remove(job)

    def next(self) -> Batch[Model] | None:
        """The texts to run next, or None when nothing waits."""
        if not self._turns:
            return None
        first = self._turns.popleft()
        indices = first.batches.popleft()
        batch = Batch(first.model, [(first, index) for index in indices])
        longest = max(len(first.ids[index]) for index in indices)
        self._merge(batch, longest)
        if first.batches:
            self._turns.append(first)
        return batch

    def _merge(self, batch: Batch[Model], longest: int) -> None:
        for job in list(self._turns):
            if job.model is not batch.model:
                continue
            indices = job.batches[0]
            length = max(len(job.ids[index]) for index in indices)
            width, count = max(longest, length), len(batch.items)
            padding = count * (width - longest) + len(indices) * (width - length)
            if padding < RUN_OVERHEAD and (count + len(indices)) * width <= TOKEN_BUDGET:
                batch.items += [(job, index) for index in job.batches.popleft()]
                longest = width
                if not job.batches:
                    self._turns.remove(job)
