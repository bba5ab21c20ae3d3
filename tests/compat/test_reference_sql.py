"""sentence-transformers' own vectors, through SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.conftest import URI

pytestmark = pytest.mark.every_major

LINES = (Path(__file__).parent / "reference_minilm.jsonl").read_text(encoding="utf-8").split("\n")
REFERENCES = [json.loads(line) for line in LINES if line]
TEXTS = [reference["text"] for reference in REFERENCES]
EXPECTED = np.array([reference["embedding"] for reference in REFERENCES])


def test_every_vector_through_the_array_form(connection: psycopg.Connection[Any]) -> None:
    rows = connection.execute(
        "SELECT id, embedding FROM azure_local_ai.create_embeddings(%s, %s::text[], %s::int[])",
        [URI, TEXTS, list(range(len(TEXTS)))],
    ).fetchall()
    assert [row[0] for row in rows] == list(range(len(TEXTS)))
    assert np.abs(np.array([row[1] for row in rows]) - EXPECTED).max() <= 1e-5


def test_every_vector_through_the_scalar_form(connection: psycopg.Connection[Any]) -> None:
    for text, expected in zip(TEXTS, EXPECTED, strict=True):
        row = connection.execute("SELECT azure_local_ai.create_embeddings(%s, %s)", [URI, text]).fetchone()
        assert row is not None
        assert np.abs(np.array(row[0]) - expected).max() <= 1e-5, text
