"""Which column and which database a command is about."""

from __future__ import annotations

import pytest

from azpg.errors import UsageError
from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.commands.columns import column_of
from azpg_provision.errors import PlanRefused


def column(schema: str, table: str, name: str) -> VectorColumn:
    return VectorColumn(
        1, schema, table, name, (Key("id", "bigint"),), "body", "m:v1", "", 3, bytes(32), Sync.NONE
    )


NOTES = column("public", "notes", "embedding")
TITLE, BODY = column("shop", "products", "title_vector"), column("shop", "products", "body_vector")
OTHER = column("archive", "notes", "embedding")
ALL = [NOTES, TITLE, BODY]


@pytest.mark.parametrize(
    ("table", "name", "found"),
    [
        ("notes", None, NOTES),
        ("public.notes", None, NOTES),
        ("notes", "embedding", NOTES),
        ("products", "body_vector", BODY),
        ("shop.products", "title_vector", TITLE),
    ],
)
def test_a_column_is_found_by_its_table(table: str, name: str | None, found: VectorColumn) -> None:
    assert column_of(ALL, table, name, "db") is found


@pytest.mark.parametrize(
    ("columns", "table", "name", "message"),
    [
        (ALL, "note", None, "'note' is no vectorized table of 'db'; there is: public.notes, shop.products. Did you mean notes?"),
        (ALL, "xyz", None, "'xyz' is no vectorized table of 'db'; there is: public.notes, shop.products."),
        (ALL, "notes", "e", "'notes' has no vectorized column 'e'; there is: embedding."),
        (ALL, "products", None, "'products' fits shop.products.title_vector and shop.products.body_vector: say SCHEMA.TABLE, or --column."),
        ([NOTES, OTHER], "notes", None, "'notes' fits public.notes.embedding and archive.notes.embedding: say SCHEMA.TABLE, or --column."),
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit(
    columns: list[VectorColumn], table: str, name: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        column_of(columns, table, name, "db")
    assert str(caught.value) == message


def test_nothing_is_vectorized_yet() -> None:
    with pytest.raises(PlanRefused, match=r"^the database 'db' has no vectorized column: name its tables"):
        column_of([], "notes", None, "db")
