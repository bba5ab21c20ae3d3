"""Schema azpg as an earlier azpg made it: carried over by apply, with all that is known of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch, PlanRefused, RowsFailed
from azpg_provision.vectorize import Options, backlog, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.calls import counters
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import Table, connector

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
# pg_dump of what commit e0fcee3 made and vectorized: a column of each sync, one entry in the queue.
VERSION_1 = Path(__file__).with_name("ledger_v1.sql")
TABLES = f"""\
  tables:
  - name: products
    embeddings: [{{column: embedding, expression: title, prefix: "passage: ", model: {URI}, sync: trigger}}]
  - name: waiting
    embeddings: [{{column: v, expression: title || code, model: {URI}, sync: queue}}]
  - name: plain
    embeddings: [{{column: v, expression: title, model: {URI}, sync: none}}]
"""


@pytest.fixture
def site(twin: Instance, connection: Connection, database: str, tmp_path: Path) -> Site:
    connection.execute(VERSION_1.read_bytes())
    connection.execute("SET search_path = public")
    return Site(twin, tmp_path, name=database)


def tables(site: Site, connection: Connection) -> list[Table]:
    connect = connector(site.twin, site.name)
    return [Table(connection, connect, column) for column in ledger.columns(connection)]


def known(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT 1, key_1::text, hash, at FROM azpg.state_1 UNION ALL SELECT 2, key_1, hash, at FROM azpg.state_2 "
        "UNION ALL SELECT 3, key_1::text, hash, at FROM azpg.state_3 ORDER BY 1, 2"
    ).fetchall()


def test_apply_carries_it_over_and_embeds_nothing_anew(
    site: Site, connection: Connection, twin: Instance
) -> None:
    before, texts = known(connection), counters(twin)["texts"]
    spec = site.spec(HEAD + TABLES, init=None)
    plan = site.plan(spec)
    assert [str(change).rpartition(" in ")[0] for change in plan.changes] == [
        "update ledger azpg",
        "update sync public.products.embedding",
        "update sync public.waiting.v",
        "update sync public.plain.v",
    ]
    assert all("embedded anew" in change.note for change in plan.changes)
    site.apply(spec)
    # The row that waited in the queue has its embedding; apply looks for such rows after it has made triggers anew.
    assert counters(twin)["texts"] == texts + 1
    assert ledger.version(connection) == ledger.VERSION
    assert set(before) <= set(known(connection))
    assert site.plan(spec).changes == ()
    for table in tables(site, connection):
        assert sync.installed(connection, table.column)
        assert table.wrong() == []
        assert table.backlog()[1:] == (0, 0)
    connection.execute("UPDATE products SET title = 'uno' WHERE id = 1; UPDATE waiting SET title = 'dos'")
    queue = tables(site, connection)[1]
    drain(queue.connect, queue.column, once=True)
    assert [table.wrong() for table in tables(site, connection)] == [[], [], []]
    site.apply(spec)


def test_functions_that_are_new_in_this_version_are_added(
    site: Site, connection: Connection, twin: Instance
) -> None:
    """What an earlier azpg of this version made calls the model by its name, whosever that is."""
    spec = site.spec(HEAD + TABLES, init=None)
    site.apply(spec)
    connection.execute(
        """
        DROP FUNCTION azpg.trusted_function;
        CREATE OR REPLACE FUNCTION azpg.embed_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            NEW.embedding := azure_local_ai.create_embeddings('all-minilm-l6-v2:v1', NEW.title); RETURN NEW; END $$
        """
    )
    before, texts = known(connection), counters(twin)["texts"]
    assert [str(change).rpartition(" in ")[0] for change in site.plan(spec).changes] == [
        "update sync public.products.embedding",
        "update sync public.waiting.v",
        "update sync public.plain.v",
    ]
    site.apply(spec)
    assert site.plan(spec).changes == ()
    assert (known(connection), counters(twin)["texts"]) == (before, texts)
    assert sync.installed(connection, tables(site, connection)[0].column)


def test_functions_of_an_earlier_azpg_are_made_anew(
    site: Site, connection: Connection, twin: Instance
) -> None:
    """An azpg of this version had one that asked nothing else."""
    spec = site.spec(HEAD + TABLES, init=None)
    site.apply(spec)
    connection.execute(
        """
        CREATE OR REPLACE FUNCTION azpg.in_hand(relation regclass, called regprocedure, quiet bool)
        RETURNS bool LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN RETURN true; END $$;
        COMMENT ON FUNCTION azpg.in_hand IS NULL;
        DROP FUNCTION azpg.has_one_owner, azpg.is_replaced
        """
    )
    before, texts = known(connection), counters(twin)["texts"]
    assert len(site.plan(spec).changes) == 3
    site.apply(spec)
    assert site.plan(spec).changes == ()
    assert (known(connection), counters(twin)["texts"]) == (before, texts)
    asked = "SELECT prosecdef, to_regproc('azpg.is_replaced') IS NULL FROM pg_proc WHERE proname = 'in_hand'"
    assert connection.execute(asked).fetchone() == (True, False)


def test_what_needs_it_says_what_to_do(site: Site, connection: Connection) -> None:
    for table in tables(site, connection):
        with pytest.raises(LedgerMismatch, match="run `azpg apply`, which embeds nothing anew for that"):
            backlog(connection, table.column)
        with pytest.raises(PlanRefused, match="run `azpg apply`, which embeds nothing anew for that"):
            run(table.connect, table.column, Options(workers=1))
        with pytest.raises(RowsFailed, match="run `azpg apply`"):
            drain(table.connect, table.column, Options(workers=1), once=True)


def test_what_an_apply_left_halfway_is_gone_on_with(site: Site, connection: Connection) -> None:
    """Each column is carried over in a transaction of its own."""
    ledger.carry(connection)
    first = tables(site, connection)[0].column
    sync.install(connection, first)
    spec = site.spec(HEAD + TABLES, init=None)
    assert [change.name for change in site.plan(spec).changes] == ["public.waiting.v", "public.plain.v"]
    site.apply(spec)
    assert site.plan(spec).changes == ()


def test_a_worker_of_the_version_before_leaves_the_column_alone(site: Site, connection: Connection) -> None:
    """What it compares with the ledger before each batch is not as it knows it."""
    old = connection.execute("SELECT id, definition FROM azpg.columns ORDER BY id").fetchall()
    site.apply(site.spec(HEAD + TABLES, init=None))
    same = "SELECT count(*) FROM azpg.columns WHERE id = %s AND definition = %s"
    for number, definition in old:
        values = [number, psycopg.types.json.Jsonb(definition)]
        assert connection.execute(same, values).fetchone() == (0,)


def test_a_version_that_is_carried_over_twice_is_as_after_once(site: Site, connection: Connection) -> None:
    ledger.carry(connection)
    secrets = connection.execute("SELECT id, secret FROM azpg.columns ORDER BY id").fetchall()
    ledger.carry(connection)
    assert connection.execute("SELECT id, secret FROM azpg.columns ORDER BY id").fetchall() == secrets
    assert len({secret for _, secret in secrets}) == 3
    columns: list[VectorColumn] = ledger.columns(connection)
    assert [column.secret for column in columns] == [secret for _, secret in secrets]
    assert secrets[0][1] not in repr(columns)
    statement = sql.SQL("SELECT count(*) FROM pg_trigger WHERE pg_get_triggerdef(oid) LIKE '%' || {} || '%'")
    sync.install(connection, columns[0])
    assert connection.execute(statement.format(secrets[0][1])).fetchone() == (0,)
