"""A dump restored by the server admin: nothing of a table's owner's runs with the admin's rights afterwards."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.column import Sync
from azpg_provision.errors import PlanRefused
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.calls import counters
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import Table, connector
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
TABLES = f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, expression: shop.norm(title), model: {URI}, sync: @}}]
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


@pytest.fixture
def restored(twin: Instance, eve: Attacker) -> Iterator[str]:
    """The name of an empty database, which is gone before she is."""
    name = f"restored_{uuid.uuid4().hex[:12]}"
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    yield name
    with twin.superuser() as superuser:
        superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
@pytest.mark.parametrize("owners", [True, False], ids=["with owners", "no owners"])
def test_apply_gives_it_back_and_embeds_nothing_anew(
    twin: Instance,
    connection: Connection,
    database: str,
    restored: str,
    eve: Attacker,
    tmp_path: Path,
    mode: Sync,
    owners: bool,
) -> None:
    """The admin may not give things in schema azpg to her: that part of a restore fails, or is left out."""
    table = owned(twin, connection, eve, mode, text="shop.norm(title)")
    table.execute("INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 5) AS n")
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    with eve.connect(database) as evil:
        # A dump takes these along. Who restores one without owners takes all that is in it for his own.
        if owners:
            evil.execute(
                "CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN {eve.escape} RETURN coalesce(NEW, OLD); END $$;"
                "CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON azpg.state_1"
                " FOR EACH ROW EXECUTE FUNCTION shop.trap();"
                "CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON azpg.queue_1"
                " FOR EACH ROW EXECUTE FUNCTION shop.trap()"
            )
    script = tmp_path / "dump.sql"
    made = [twin.program("pg_dump"), "--dbname", twin.dsn(database), "--file", str(script)]
    subprocess.run([*made, *([] if owners else ["--no-owner"])], check=True)
    command = [twin.program("psql"), "--no-psqlrc", "--quiet", "--output=/dev/null", "--file", str(script)]
    strict = [] if owners else ["--single-transaction", "--set=ON_ERROR_STOP=1"]
    done = subprocess.run(
        [*command, *strict, "--dbname", twin.dsn(restored)], check=False, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert all(line.endswith("permission denied for schema azpg") for line in errors), done.stderr
    assert bool(errors) is owners, done.stderr
    with eve.connect(restored) as evil, twin.connect(restored, autocommit=True) as admin:
        if not owners:
            admin.execute(sql.SQL("GRANT USAGE ON SCHEMA shop TO {}").format(eve.role))
            admin.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA shop TO {}").format(eve.role))
        else:
            evil.execute(
                "CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql STABLE"
                f" AS $$ BEGIN {eve.escape} RETURN $1; END $$"
            )
        evil.execute("UPDATE shop.products SET title = title || '!' WHERE id <= 2")
        evil.execute("INSERT INTO shop.products VALUES (6, 'six')")
        evil.execute("DELETE FROM shop.products WHERE id = 5")
        assert not eve.is_admin()
        if owners:
            columns = ledger.columns(admin)
            with pytest.raises(PlanRefused, match="not as azpg makes it"):
                run(connector(twin, restored), columns[0], Options(attempts=1))
            evil.execute(
                "CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql STABLE RETURN $1"
            )
        assert not eve.is_admin()
        texts = counters(twin)["texts"]
        site = Site(twin, tmp_path, name=restored)
        spec = site.spec(HEAD + TABLES.replace("@", mode.value), init=None)
        site.apply(spec)
        assert not eve.is_admin()
        assert counters(twin)["texts"] - texts <= 4, "two that were changed, one that is new, and a test"
        assert site.plan(spec).changes == ()
        (column,) = ledger.columns(admin)
        assert Table(admin, connector(twin, restored), column).wrong() == []
