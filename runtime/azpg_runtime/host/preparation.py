"""From the texts of a request to a job: tokenised and packed, in steps that are each short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable

import numpy as np
import numpy.typing as npt

from azpg_runtime.embedding.batching import pack
from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.host.engine import EmbeddingJob
from azpg_runtime.host.scheduler import Job

_STEP_CHARACTERS = 16 * 1024
_STEP_TEXTS = 256
"""What one step tokenises: about 10 ms. A text counts as far as the tokenizer looks into it."""

_STEP_PACKED = 2048
"""Texts that are packed in one step, about 25 ms; packing apart costs one run more at most."""


def prepare(
    embedder: Embedder,
    texts: Iterable[str],
    matrix: npt.NDArray[np.float32],
    finish: Callable[[Exception | None], None],
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Generator[None, None, EmbeddingJob]:
    """A job for `texts`, which are read one by one.

    Args:
        embedder: the job's model.
        texts: as many as `matrix` has rows.
        matrix: the job's own, as is `finish`.
        finish: see `Job`.
        cancelled: asked within the steps; True ends the work.

    Raises `TextTooLong`, `EmbeddingError`,
    `EmbeddingCancelled`, and what reading the texts raises.
    """
    ids = []
    characters = 0
    for number, text in enumerate(texts, 1):
        embedder.check([text])
        (one,) = embedder.tokenizer.encode([text], cancelled=cancelled)
        ids.append(one.astype(np.int32))  # of many texts, half the memory
        characters += len(text)
        if characters >= _STEP_CHARACTERS or number % _STEP_TEXTS == 0:
            characters = 0
            yield
    lengths = [len(one) for one in ids]
    order = sorted(range(len(ids)), key=lengths.__getitem__)
    batches: deque[list[int]] = deque()
    for begin in range(0, len(order), _STEP_PACKED):
        if begin:
            yield
        part = order[begin : begin + _STEP_PACKED]
        runs = pack([lengths[index] for index in part])
        batches.extend([part[at] for at in run] for run in runs)
    return Job(embedder, ids, batches, matrix, finish)


def at_once(steps: Generator[None, None, EmbeddingJob]) -> EmbeddingJob:
    """Takes all steps now, which is for small requests."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            job: EmbeddingJob = end.value
            return job
