"""Vectors are those of sentence-transformers for the same weights, in any company and order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from azpg_runtime.embedding import Embedder
from azpg_runtime.models import StoredModel

REFERENCE = Path(__file__).with_name("reference_minilm.jsonl")
TOLERANCE = 1e-5
COMPANY = 1e-6


@pytest.fixture(scope="module")
def embedder(minilm: StoredModel) -> Embedder:
    return Embedder(minilm)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [json.loads(line)["text"] for line in REFERENCE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    rows = [json.loads(line)["embedding"] for line in REFERENCE.read_text(encoding="utf-8").splitlines()]
    return np.array(rows)


def test_all_together(embedder: Embedder, texts: list[str], expected: np.ndarray) -> None:
    found = embedder.embed(texts)
    assert found.shape == expected.shape == (60, 384)
    assert np.abs(found - expected).max() <= TOLERANCE
    cosines = (found * expected).sum(1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.99999


def test_one_by_one(embedder: Embedder, texts: list[str], expected: np.ndarray) -> None:
    found = np.vstack([embedder.embed([text]) for text in texts])
    assert np.abs(found - expected).max() <= TOLERANCE


def test_shuffled(embedder: Embedder, texts: list[str], expected: np.ndarray) -> None:
    order = list(range(len(texts)))
    random.Random(7).shuffle(order)
    found = embedder.embed([texts[at] for at in order])
    assert np.abs(found - expected[order]).max() <= TOLERANCE


@pytest.mark.parametrize("budget", [1, 64, 512, 100_000])
def test_company_does_not_matter(embedder: Embedder, texts: list[str], budget: int) -> None:
    alone = np.vstack([embedder.embed([text]) for text in texts])
    assert np.abs(embedder.embed(texts, budget=budget) - alone).max() <= COMPANY


def test_vectors_have_length_one(embedder: Embedder, texts: list[str]) -> None:
    assert np.abs(np.linalg.norm(embedder.embed(texts), axis=1) - 1).max() <= COMPANY
