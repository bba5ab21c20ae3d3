"""Texts in, vectors out, in the same order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from azpg_runtime.embedding import MAX_TEXT, Embedder
from azpg_runtime.errors import EmbeddingCancelled, TextTooLong
from azpg_runtime.models import ModelStore, StoredModel

from . import tiny

TEXTS = ["the passage", "a", "query: 日本語", "привет при ве т" * 9, "", "th in er an ing " * 40]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    folder = tmp_path_factory.mktemp("embedder")
    return ModelStore(folder / "store").add("tiny", tiny.write(folder / "source"))


@pytest.fixture(scope="module")
def embedder(model: StoredModel) -> Embedder:
    return Embedder(model)


def test_what_a_model_is(embedder: Embedder) -> None:
    assert (embedder.dimensions, embedder.max_tokens) == (tiny.HIDDEN, tiny.MAX_TOKENS)
    assert embedder.tokenizer.pad_id == 1


def test_vectors_are_those_of_the_definition(embedder: Embedder) -> None:
    tensors = tiny.weights(tiny.tokenizer().get_vocab_size(with_added_tokens=True))
    ids = embedder.tokenizer.encode(TEXTS)
    expected = np.vstack([tiny.reference(tensors, text) for text in ids])
    assert np.abs(embedder.embed(TEXTS) - expected).max() < 1e-5


def test_order_is_that_of_the_texts(embedder: Embedder) -> None:
    forward, backward = embedder.embed(TEXTS), embedder.embed(TEXTS[::-1])
    assert np.abs(forward - backward[::-1]).max() < 1e-6
    assert forward.dtype == np.float32


def test_no_texts(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, tiny.HIDDEN)


def test_progress_counts_texts(embedder: Embedder) -> None:
    seen: list[int] = []
    embedder.embed(TEXTS, progress=seen.append, budget=32)
    assert seen[-1] == len(TEXTS)
    assert seen == sorted(set(seen))


def test_cancelled_between_batches(embedder: Embedder) -> None:
    done: list[int] = []
    with pytest.raises(EmbeddingCancelled):
        embedder.embed(TEXTS, budget=1, progress=done.append, cancelled=lambda: len(done) == 2)
    assert done == [1, 2]


@pytest.mark.parametrize(
    ("text", "size"), [("a" * (MAX_TEXT + 1), MAX_TEXT + 1), ("é" * (MAX_TEXT // 2 + 1), MAX_TEXT + 2)]
)
def test_over_the_limit(embedder: Embedder, text: str, size: int) -> None:
    with pytest.raises(TextTooLong) as caught:
        embedder.embed(["fine", text])
    assert caught.value.message == f"input is {size} bytes long; the limit is 16777216"
    assert caught.value.sqlstate == "54000"


def test_at_the_limit(embedder: Embedder) -> None:
    embedder.check(["é" * (MAX_TEXT // 2), "a" * MAX_TEXT, "😀" * (MAX_TEXT // 4)])


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    alone = embedder.embed(TEXTS)
    barrier = threading.Barrier(4)

    def work() -> np.ndarray:
        barrier.wait()
        return embedder.embed(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        for found in [future.result() for future in [pool.submit(work) for _ in range(4)]]:
            assert np.abs(found - alone).max() < 1e-6


def test_it_holds_no_thread(model: StoredModel) -> None:
    before = threading.active_count()
    Embedder(model, intra_op_threads=1).embed(TEXTS)
    assert threading.active_count() == before


def test_another_one_with_other_threads_shares_the_tokenizer(embedder: Embedder) -> None:
    other = embedder.with_threads(intra_op_threads=1, inter_op_threads=1, spin=True)
    assert other.tokenizer is embedder.tokenizer
    assert other.session is not embedder.session
    assert np.abs(other.embed(TEXTS) - embedder.embed(TEXTS)).max() < 1e-6
