"""Which database and table a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from azpg.errors import UsageError
from azpg_provision.commands.columns import database_of
from azpg_provision.commands.place import command
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import parse
from azpg_provision.target.where import Where

TWO = b"""\
version: 1
models: [{uri: "m:v1"}]
databases:
- name: sales
  extensions: [vector, azure_local_ai]
  tables:
  - {name: products, embeddings: [{column: e, source: [title], model: "m:v1"}]}
  - {name: notes, embeddings: [{column: e, source: [title], model: "m:v1"}]}
- name: support
  extensions: [vector, azure_local_ai]
  tables:
  - {name: tickets, schema: desk, embeddings: [{column: e, source: [title], model: "m:v1"}]}
  - {name: notes, embeddings: [{column: e, source: [title], model: "m:v1"}]}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return parse(TWO, name="azpg.yaml", folder=tmp_path)


@pytest.mark.parametrize(
    ("table", "database"),
    [
        ("products", "sales"),
        ("public.products", "sales"),
        ("tickets", "support"),
        ("desk.tickets", "support"),
    ],
)
def test_the_only_database_with_the_table_is_meant(spec: Spec, table: str, database: str) -> None:
    assert database_of(spec, None, table) == database
    assert database_of(spec, "another", table) == "another"
    assert database_of(None, None, table) is None


@pytest.mark.parametrize("table", ["notes", "nothing"])
def test_else_a_person_has_to_say_it(spec: Spec, table: str) -> None:
    with pytest.raises(
        UsageError, match=r"the spec has 2 databases: choose with --database sales \| support"
    ):
        database_of(spec, None, table)


def test_the_only_database_is_meant_whatever_is_in_it() -> None:
    only = Spec.model_validate({"version": 1, "databases": [{"name": "shop"}]})
    assert database_of(only, None, "anything") == "shop"


def test_the_next_command_means_the_same_target() -> None:
    default = Path("azpg.yaml")
    assert command("apply", Where(), default) == "azpg apply"
    assert command("apply", Where(local="a b"), Path("x.yaml")) == "azpg apply x.yaml --local 'a b'"
    assert command("search", Where(stack="prod", cwd=Path("in")), Path("x.yaml"), "t", option="--spec") == (
        "azpg search t --spec x.yaml --stack prod --cwd in"
    )
