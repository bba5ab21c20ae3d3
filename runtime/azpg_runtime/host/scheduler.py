"""Which texts run next: short requests first, long ones in turn. No threads, no clock, no I/O.

A job is one request's texts, already tokenised, packed into micro-batches by
`azpg_runtime.embedding.batching`. Of `CYCLE` runs all but one go to the job with the fewest micro-batches
left, among equals to the one that has waited longest for a run; the last one goes to the job that has waited
longest, whatever it has left. So for every job, whatever the others are:

- A job whose texts fit one run, with k such jobs before it, waits for at most k + ceil((k + 1) / 3) other
  runs: for one, if the others are long. In practice it is far fewer, because short jobs share runs.
- A job among n has a run of its own within the next `CYCLE` * n.

Where the micro-batch whose turn it is leaves room, the next micro-batches of other jobs join it, in the same
order, as long as the padding that costs is less than the run it saves.

A model whose run takes very long can be left out; the rest then holds for the jobs of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET

Model = TypeVar("Model")
Ids = npt.NDArray[np.int32]
CYCLE = 4
"""Runs of which one goes to the job that has waited longest."""


@dataclass(eq=False, slots=True)
class Job(Generic[Model]):
    """One request's texts.

    Attributes:
        model: what embeds them; only jobs of one model share a run.
        ids: the token ids of each text.
        batches: what runs at once: places in `ids`, each of them once.
        matrix: where their vectors go, of shape (len(ids), dimensions).
        finish: called once, when the matrix is full, or with the error that ended the job.
        release: called once, when nobody waits for the job and no run has its model any more.
        remaining: texts without a vector.
        over: whether nobody waits for it.
    """

    model: Model
    ids: Sequence[Ids]
    batches: deque[list[int]]
    matrix: npt.NDArray[np.float32]
    finish: Callable[[Exception | None], None]
    release: Callable[[], None] = lambda: None
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

    @property
    def jobs(self) -> list[Job[Model]]:
        """The jobs that share this run."""
        return list(dict.fromkeys(job for job, _ in self.items))

    def has(self, job: Job[Model]) -> bool:
        """Whether texts of a job are among these."""
        return any(one is job for one, _ in self.items)

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
            job.matrix[index] = row
            job.remaining -= 1
            if job.remaining == 0 and not job.over:
                complete.append(job)
        return complete


class Scheduler(Generic[Model]):
    """The jobs that wait for a run."""

    def __init__(self) -> None:
        self._waiting: deque[Job[Model]] = deque()  # who waits longest first
        self._runs = 0

    def __len__(self) -> int:
        """Jobs with texts that have not been handed out yet."""
        return len(self._waiting)

    def add(self, job: Job[Model]) -> None:
        """Lets a job of at least one text wait for its runs."""
        self._waiting.append(job)

    def drop(self, job: Job[Model]) -> None:
        """Forgets a job: nobody waits for it. What already runs is not affected."""
        job.over = True
        if job in self._waiting:
            self._waiting.remove(job)

    def next(self, *, busy: Sequence[Model] = ()) -> Batch[Model] | None:
        """The texts to run next, or None when nothing waits but for the models that are `busy`."""
        waiting = list(self._waiting)
        if busy:
            waiting = [job for job in waiting if not any(job.model is one for one in busy)]
        if not waiting:
            return None
        self._runs += 1
        shortest_first = sorted(waiting, key=_left)  # keeps the order of equals
        first = waiting[0] if self._runs % CYCLE == 0 else shortest_first[0]
        batch = Batch(first.model, [])
        longest = self._take(first, batch)
        for job in shortest_first:
            if (len(batch.items) + 1) * longest > TOKEN_BUDGET:
                break
            if job is not first and job.model is first.model:
                longest = self._join(job, batch, longest)
        return batch

    def _join(self, job: Job[Model], batch: Batch[Model], longest: int) -> int:
        """Adds a job's next micro-batch to a run if it fits; returns the run's longest text in tokens."""
        count, more = len(batch.items), len(job.batches[0])
        length = _longest(job)
        width = max(longest, length)
        padding = count * (width - longest) + more * (width - length)
        if padding >= RUN_OVERHEAD or (count + more) * width > TOKEN_BUDGET:
            return longest
        self._take(job, batch)
        return width

    def _take(self, job: Job[Model], batch: Batch[Model]) -> int:
        """Moves a job's next micro-batch into a run; returns its longest text in tokens."""
        longest = _longest(job)
        batch.items += [(job, index) for index in job.batches.popleft()]
        self._waiting.remove(job)
        if job.batches:
            self._waiting.append(job)
        return longest


def _left(job: Job[Model]) -> int:
    return len(job.batches)


def _longest(job: Job[Model]) -> int:
    return max(len(job.ids[index]) for index in job.batches[0])
