"""A transaction that may not write changes nothing of the model host, which all databases share."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.conftest import MODEL, URI

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.every_major

CHANGES = [
    "set_setting('intra_op_parallelism', '1')",
    "set_setting(ARRAY['intra_op_parallelism'], ARRAY['1'])",
    f"model_register('azpg-read-only:v1', '{MODEL}')",
    f"model_unregister('{URI}')",
    f"model_unload('{URI}')",
]


@pytest.mark.parametrize("call", CHANGES)
def test_the_host_is_not_changed_by_a_transaction_that_may_not_write(
    connection: Connection, call: str
) -> None:
    before = host(connection)
    name = call.partition("(")[0]
    connection.execute("BEGIN READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match=f"cannot execute azure_local_ai.{name}"):
        connection.execute(f"SELECT azure_local_ai.{call}".encode())
    connection.execute("ROLLBACK")
    assert host(connection) == before


def host(connection: Connection) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT azure_local_ai.get_setting(), azure_local_ai.model_metadata(%s), azure_local_ai.model_loaded(%s)",
        [URI, URI],
    ).fetchone()
    assert row is not None
    return row
