"""Settings that a database has for others do not reach azpg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, PRODUCTS, Site, wrong_rows

KINDS = ("generated", "trigger", "queue")
TABLES = "  init: [init.sql]\n  tables:\n" + "".join(
    f"""\
  - name: {kind}_products
    embeddings:
    - column: embedding
      source: [title, description]
      model: {URI}
      sync: {kind}
      index: {{method: hnsw}}
"""
    for kind in KINDS
)


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    yield site
    site.drop()


@pytest.mark.parametrize("setting", ["default_transaction_read_only", "quote_all_identifiers"])
def test_apply_and_plan_where_a_database_sets(site: Site, setting: str) -> None:
    with site.twin.superuser() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER pgadmin").format(sql.Identifier(site.name)))
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = on").format(
                sql.Identifier(site.name), sql.Identifier(setting)
            )
        )
    init = "".join(PRODUCTS.replace("products", f"{kind}_products") for kind in KINDS)
    spec = site.spec(HEAD + TABLES, init)
    site.apply(spec)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        for kind in KINDS:
            assert wrong_rows(connection, f"{kind}_products") == 0
        connection.execute("UPDATE queue_products SET title = 'another' WHERE id = 1")
    (change,) = site.plan(spec).changes
    assert change.name == "public.queue_products.embedding"
    site.apply(spec)
    assert site.plan(spec).changes == ()
