"""From texts to a job, in steps that are each short."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from azpg_runtime.embedding import MAX_TEXT, Embedder
from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET, pack
from azpg_runtime.errors import EmbeddingCancelled, TextTooLong
from azpg_runtime.host.preparation import at_once, prepare
from azpg_runtime.models import ModelStore

from . import tiny


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tmp_path_factory.mktemp("preparation")
    return Embedder(ModelStore(folder / "store").add("tiny", tiny.write(folder / "source")))


NOWHERE = np.empty((0, tiny.HIDDEN), np.float32)


def never(failure: Exception | None) -> None:
    raise AssertionError("preparation finishes nothing")


def steps_of(embedder: Embedder, texts: list[str]) -> list[int]:
    """How many texts each step but the last has read when it ends."""
    read = 0

    def reading() -> Iterator[str]:
        nonlocal read
        for read, text in enumerate(texts, 1):  # noqa: B007 - read is what is counted
            yield text

    found = []
    for _ in prepare(embedder, reading(), NOWHERE, never):
        found.append(read)  # noqa: PERF401 - it is read while the generator runs
    return found


def test_a_job_of_every_text_in_its_place(embedder: Embedder) -> None:
    texts = ["the passage", "", "日本語 " * 9, "a"]
    matrix = np.empty((len(texts), tiny.HIDDEN), np.float32)
    job = at_once(prepare(embedder, iter(texts), matrix, never))
    assert (job.model, job.matrix, job.finish) == (embedder, matrix, never)
    assert [one.tolist() for one in job.ids] == [one.tolist() for one in embedder.tokenizer.encode(texts)]
    assert list(job.batches) == pack([len(one) for one in job.ids])
    assert job.remaining == 4


def test_no_texts(embedder: Embedder) -> None:
    job = at_once(prepare(embedder, iter([]), NOWHERE, never))
    assert (job.remaining, list(job.ids), list(job.batches)) == (0, [], [])


def test_a_small_request_is_one_step(embedder: Embedder) -> None:
    assert steps_of(embedder, ["the passage"] * 200) == []


def test_many_texts_are_many_steps(embedder: Embedder) -> None:
    assert steps_of(embedder, ["a"] * 1000) == [256, 512, 768]


def test_long_texts_are_many_steps(embedder: Embedder) -> None:
    assert steps_of(embedder, ["the passage " * 1000] * 6) == [2, 4, 6]


def test_packing_of_very_many_texts_is_many_steps_and_costs_hardly_more(embedder: Embedder) -> None:
    texts = ["a" * length for length in np.random.default_rng(5).integers(1, 60, 6000)]
    job = at_once(prepare(embedder, iter(texts), NOWHERE, never))
    lengths = [len(one) for one in job.ids]
    assert sorted(index for run in job.batches for index in run) == list(range(6000))

    def cost(runs: list[list[int]]) -> int:
        return sum(RUN_OVERHEAD + len(run) * max(lengths[index] for index in run) for run in runs)

    assert all(len(run) * max(lengths[index] for index in run) <= TOKEN_BUDGET for run in job.batches)
    assert cost(list(job.batches)) <= cost(pack(lengths)) + 2 * (RUN_OVERHEAD + TOKEN_BUDGET)
    assert steps_of(embedder, texts)[-2:] == [6000, 6000], "packing is two steps and the last"


def test_a_text_that_is_too_long(embedder: Embedder) -> None:
    with pytest.raises(TextTooLong):
        at_once(prepare(embedder, iter(["a", "a" * (MAX_TEXT + 1)]), NOWHERE, never))


def test_it_can_be_given_up_within_a_step(embedder: Embedder) -> None:
    with pytest.raises(EmbeddingCancelled):
        at_once(prepare(embedder, iter(["a"]), NOWHERE, never, cancelled=lambda: True))
