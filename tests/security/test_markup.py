"""A name with what Rich takes for markup is shown as it is, and ends no command."""

from __future__ import annotations

import pytest

from azpg_provision.vectorize import run
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import vectorized
from tests.security.roles import Connection
from tests.terminal import on_terminal

pytestmark = pytest.mark.vector
NAME = r"[/x][red]a\[/]"


@pytest.mark.parametrize(
    "command",
    [
        ["vectorize"],
        ["vectorize", "--dry-run"],
        ["vectorize", "--failed"],
        ["worker", "--once"],
        ["search", NAME, "two"],
        ["index", "evaluate", NAME],
    ],
    ids=lambda command: " ".join(command[:2]).removesuffix(NAME),
)
def test_a_table_may_have_any_name(
    twin: Instance, connection: Connection, database: str, command: list[str]
) -> None:
    """Its owner could else keep the admin from all columns that come after it."""
    create = f'CREATE TABLE "{NAME}" (id bigint PRIMARY KEY, title text, embedding vector(384))'
    table = vectorized(twin, connection, create=create, table=NAME)
    connection.execute(f"""INSERT INTO "{NAME}" SELECT n, 'text ' || n FROM generate_series(1, 20) AS n""")
    if command[0] != "vectorize":
        run(table.connect, table.column)
    connection.execute(f'CREATE INDEX "i{NAME}" ON "{NAME}" USING hnsw (embedding vector_cosine_ops)')
    on_terminal(*command, "--dsn", twin.dsn(database), "--database", database, columns=200)
