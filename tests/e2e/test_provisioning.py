"""From no server at all to a search that answers, and back: what a person types, with no cloud."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from psycopg import sql

from tests.conftest import URI
from tests.e2e.stacks import Stack

pytestmark = pytest.mark.timeout(600)

THINGS = [
    "kettle",
    "bicycle",
    "telescope",
    "raincoat",
    "violin",
    "aquarium",
    "hammer",
    "sleeping bag",
    "printer",
    "sofa",
]
KINDS = ["small", "large", "red", "blue", "light", "old", "new", "foldable", "wooden", "steel"]
USES = ["for children", "for travellers", "for professionals", "for beginners", "for the kitchen"]
MORE = ["with two years of warranty", "sold as a pair"]
TEXTS = [" ".join(parts) for parts in itertools.product(KINDS, THINGS, USES, MORE)]
SPEC = f"""
version: 1
models:
- uri: {URI}
databases:
- name: app
  init: [catalogue.sql]
  extensions: [vector, azure_local_ai]
  tables:
  - name: catalogue
    embeddings:
    - {{column: embedding, source: [body], model: "{URI}", sync: queue, index: {{method: hnsw}}}}
"""


def write_spec(folder: Path) -> Path:
    rows = sql.SQL(", ").join(sql.SQL("({}, {})").format(number, text) for number, text in enumerate(TEXTS))
    statements = sql.SQL(
        "CREATE TABLE catalogue (id int PRIMARY KEY, body text NOT NULL);\nINSERT INTO catalogue VALUES {};\n"
    ).format(rows)
    folder.joinpath("catalogue.sql").write_text(statements.as_string())
    spec = folder / "azpg.yaml"
    spec.write_text(SPEC)
    return spec


def test_from_nothing_to_answers_and_back(stack: Stack, tmp_path: Path) -> None:
    assert len(TEXTS) == 1000
    spec = str(write_spec(tmp_path))
    where = (spec, "--stack", "offline")
    stack.up()

    checks = json.loads(stack.azpg("preflight", *where, "--json").stdout)["checks"]
    assert [one for one in checks if one["status"] == "fail"] == []
    assert {one["id"]: one["status"] for one in checks}["login"] == "pass"

    assert stack.azpg("drift", *where, check=False).returncode == 3
    stack.azpg("apply", *where, "--yes")
    with stack.connect("app") as connection:
        assert connection.execute("SELECT count(*), count(embedding) FROM catalogue").fetchone() == (
            1000,
            1000,
        )
    question = ("search", "catalogue", "something to make tea with", "--json", "--spec", *where)
    results = json.loads(stack.azpg(*question).stdout)["results"]
    assert len(results) == 10
    assert all("kettle" in one["text"] for one in results[:5])

    assert "Nothing to do" in stack.azpg("apply", *where, "--yes").stdout
    assert stack.azpg("drift", *where).returncode == 0
    stack.pulumi("destroy", "--yes", "--non-interactive")
    assert stack.resources() == []
