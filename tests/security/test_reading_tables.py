"""Whoever owns a table runs nothing with the rights of the admin who plans, applies, or judges an index there.

PostgreSQL computes what is constant in a table's index expressions, statistics and checks whenever it plans a
query over the table, as who asks; and a view can take the table's name while the admin waits for a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import PlanRefused
from azpg_provision.index import building
from azpg_provision.index.definition import VectorIndex
from azpg_provision.index.evaluation import evaluate
from azpg_provision.index.probe import Probe, Question
from azpg_provision.live.count import count
from azpg_provision.live.owner import as_owner
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.security.roles import Attacker, Connection, attacker

pytestmark = [pytest.mark.every_major, pytest.mark.vector]

SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.products (id bigint PRIMARY KEY, title text NOT NULL, embedding public.vector(3));
INSERT INTO shop.products SELECT n, 'title ' || n, ARRAY[n, 1, 50 - n]::public.vector FROM generate_series(1, 50) AS n;
-- What is IMMUTABLE may not grant, but call what may.
CREATE FUNCTION shop.spring() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN 1; END $$;
CREATE FUNCTION shop.trap(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
$$ DECLARE _ int; BEGIN EXECUTE 'SELECT ' || (SELECT pronamespace::regnamespace FROM pg_proc WHERE proname = 'spring') || '.spring()' INTO _; RETURN value; END $$;
-- In a transaction that reads only nothing else can be seen of it.
CREATE FUNCTION shop.alarm(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN IF current_user <> {name} THEN RAISE EXCEPTION 'it ran as %', current_user; END IF; RETURN value; END $$;
"""
PLANNED = {
    "index": "CREATE INDEX sprung ON shop.products ((shop.{trap}(1)))",
    "predicate": "CREATE INDEX sprung ON shop.products (id) WHERE id > shop.{trap}(-1)",
    "statistics": "CREATE STATISTICS shop.sprung ON (shop.{trap}(1) + id) FROM shop.products",
    "check": "ALTER TABLE shop.products ADD CHECK (shop.{trap}(1) = 1)",
    "policy": "CREATE POLICY sprung ON shop.products USING (shop.{trap}(1) = 1); "
    "ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY; ALTER TABLE shop.products FORCE ROW LEVEL SECURITY",
}
SWAP = """
ALTER TABLE shop.products RENAME TO real;
CREATE VIEW shop.products AS SELECT * FROM shop.real WHERE shop.trap(1) = 1
"""
SWAPPED_SCHEMA = """
ALTER SCHEMA shop RENAME TO real; CREATE SCHEMA shop;
CREATE VIEW shop.products AS SELECT * FROM real.products WHERE real.trap(1) = 1
"""
TABLE = f"""\
  tables:
  - schema: shop
    name: products
    embeddings: [{{column: made, source: [title], model: {URI}, sync: generated}}]
"""


@dataclass(frozen=True)
class Shop:
    """A table of Eve's in a database that she may create in, where the admin is a member of her role."""

    site: Site
    eve: Attacker
    evil: Connection

    def connect(self) -> Connection:
        return self.site.target.connect(self.site.name)

    @property
    def column(self) -> VectorColumn:
        return VectorColumn(
            id=1, schema="shop", table="products", column="embedding", keys=(Key("id", "bigint"),),
            text="title", model=URI, prefix="", dimensions=3, fingerprint=bytes(32), sync=Sync.NONE,
        )  # fmt: skip


@pytest.fixture
def shop(twin: Instance, database: str, tmp_path: Path) -> Iterator[Shop]:
    with attacker(twin, database) as eve:
        site = Site(twin, tmp_path, database)
        with site.connect() as admin:
            admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(eve.role))
            admin.execute(
                sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), eve.role)
            )
            # As a database's owner could, who wants the checks of tables to be planned with.
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET constraint_exclusion = on").format(sql.Identifier(database))
            )
        with eve.connect(database) as evil:
            evil.execute(SHOP.format(payload=eve.payload, name=f"'{eve.name}'"))
            evil.execute("ALTER TABLE shop.products SET (autovacuum_enabled = off)")
            yield Shop(site, eve, evil)


def indexed(shop: Shop) -> None:
    shop.evil.execute(
        "CREATE INDEX products_embedding_hnsw ON shop.products USING hnsw (embedding public.vector_cosine_ops)"
    )


def test_the_trap_is_one(shop: Shop) -> None:
    """A plain count by the admin, of a plain table, is enough."""
    shop.evil.execute(PLANNED["index"].format(trap="trap"))
    with shop.site.connect() as admin:
        admin.execute("SELECT count(*) FROM shop.products")
    assert shop.eve.is_admin()


@pytest.mark.parametrize("kind", ["index", "predicate", "statistics", "check"])
def test_an_evaluation_plans_as_the_owner(shop: Shop, kind: str) -> None:
    indexed(shop)
    shop.evil.execute(PLANNED[kind].format(trap="trap"))
    with shop.connect() as admin:
        (found,) = evaluate(admin, shop.column, sample=5, values=[40])
    assert found.rows == 50
    assert found.points[0].recall == 1
    assert not shop.eve.is_admin()


def test_an_evaluation_refuses_what_a_policy_would_hide(shop: Shop) -> None:
    indexed(shop)
    shop.evil.execute(PLANNED["policy"].format(trap="trap"))
    with shop.connect() as admin, pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"):
        evaluate(admin, shop.column, sample=5, values=[40])
    assert not shop.eve.is_admin()


@pytest.mark.parametrize("kind", PLANNED)
def test_building_an_index_runs_nothing_as_the_admin(shop: Shop, kind: str) -> None:
    """Not even where the rows of a table that nobody has analysed are counted first."""
    shop.evil.execute(PLANNED[kind].format(trap="trap"))
    try:
        building.create(shop.connect, shop.column, VectorIndex())
    except psycopg.errors.InsufficientPrivilege:
        assert kind == "policy"
    else:
        assert kind != "policy"
    assert not shop.eve.is_admin()


@pytest.mark.parametrize("kind", ["index", "predicate", "statistics", "check"])
def test_a_plan_counts_and_samples_as_nobody_who_may_more(shop: Shop, kind: str) -> None:
    shop.evil.execute(PLANNED[kind].format(trap="alarm"))
    (made,) = (
        one for one in shop.site.plan(shop.site.spec(HEAD + TABLE, init=None)).changes if one.kind == "column"
    )
    assert "rewrites about 50 rows" in made.note
    assert "rows/s of a sample" in made.note


@pytest.mark.parametrize("kind", ["index", "predicate", "statistics", "check"])
def test_apply_announces_a_rewrite_without_running_what_is_the_owners(shop: Shop, kind: str) -> None:
    shop.evil.execute(PLANNED[kind].format(trap="trap"))
    said = shop.site.apply(shop.site.spec(HEAD + TABLE, init=None))
    assert any("is being rewritten: 50 rows, for about" in text for text in said), said
    assert not shop.eve.is_admin()


# Another thing by the name, while the admin waits


def swapped(shop: Shop, swap: str, look: Callable[[], object]) -> BaseException | None:
    """Looks while Eve holds the table, and puts something else in its place; returns what was raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            look()
        except (PlanRefused, psycopg.Error) as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    with shop.site.connect() as watcher, shop.evil.transaction():
        shop.evil.execute("LOCK TABLE shop.products IN ACCESS EXCLUSIVE MODE")
        thread.start()
        wait_for(
            lambda: (
                watcher.execute(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'shop.products'::regclass"
                ).fetchone()
                != (0,)
            ),
            timeout=30,
        )
        shop.evil.execute(swap)
    thread.join()
    return raised[0] if raised else None


@pytest.mark.parametrize("swap", [SWAP, SWAPPED_SCHEMA])
def test_an_evaluation_reads_no_view_in_the_place_of_the_table(shop: Shop, swap: str) -> None:
    indexed(shop)

    def look() -> None:
        with shop.connect() as admin:
            evaluate(admin, shop.column, sample=5, values=[40])

    error = swapped(shop, swap, look)
    assert isinstance(error, PlanRefused)
    assert "is no ordinary table any more" in str(error)
    assert not shop.eve.is_admin()


@pytest.mark.parametrize("swap", [SWAP, SWAPPED_SCHEMA])
def test_a_count_reads_no_view_in_the_place_of_the_table(shop: Shop, swap: str) -> None:
    with shop.connect() as admin:
        error = swapped(shop, swap, partial(count, admin, "shop", "products"))
        assert isinstance(error, PlanRefused)
    assert not shop.eve.is_admin()


@pytest.mark.parametrize("swap", [SWAP, SWAPPED_SCHEMA])
def test_an_index_is_not_built_over_a_view(shop: Shop, swap: str) -> None:
    error = swapped(shop, swap, partial(building.create, shop.connect, shop.column, VectorIndex()))
    assert error is not None
    assert not shop.eve.is_admin()


def test_a_schema_that_is_renamed_under_the_lock_lets_nothing_run(shop: Shop) -> None:
    """No lock on a table holds the name of its schema."""
    with shop.connect() as admin, as_owner(admin, "shop", "products") as owner:
        assert owner.rows(sql.SQL("SELECT pg_catalog.count(*) FROM shop.products"), "n int8") == [(50,)]
        shop.evil.execute(SWAPPED_SCHEMA.replace("trap", "alarm"))
        assert owner.rows(sql.SQL("SELECT pg_catalog.count(*) FROM shop.products"), "n int8") == [(50,)]


OTHER_VECTORS = """
CREATE DOMAIN shop.vector AS public.vector(3);
ALTER TABLE shop.products ALTER embedding TYPE shop.vector;
CREATE FUNCTION shop.far(shop.vector, public.vector) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS
$$ BEGIN RETURN shop.alarm(1); END $$;
CREATE OPERATOR public.<=> (LEFTARG = shop.vector, RIGHTARG = public.vector, FUNCTION = shop.far)
"""


def test_an_operator_for_another_type_of_vectors_is_not_found(shop: Shop) -> None:
    """In pgvector's own schema, where it would fit better than pgvector's."""
    with shop.site.connect() as admin:
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(shop.eve.role))
    shop.evil.execute(OTHER_VECTORS)
    with shop.connect() as admin:
        probe = Probe(admin, shop.column, VectorIndex(), vector_schema="public", limit=5)
        with probe.settings() as owner:
            distances, _ = probe.nearest(owner, Question("[1,1,49]", 1))
    assert distances[0] < 1e-6 < distances[1] < 1


# What is left of it in the session


def test_the_owner_replaces_no_statement_of_the_admins_session(shop: Shop) -> None:
    """One that psycopg has prepared, and would execute by its name."""
    shop.evil.execute(
        """
        CREATE FUNCTION shop.replace() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
        DECLARE one record;
        BEGIN
            FOR one IN SELECT name FROM pg_prepared_statements LOOP
                EXECUTE format('DEALLOCATE %I', one.name);
                EXECUTE format('PREPARE %I AS SELECT shop.trap(1)', one.name);
            END LOOP;
            RETURN 1;
        END $$
        """
    )
    with shop.connect() as admin:
        for _ in range(10):
            admin.execute("SELECT 1")
        admin.execute("SELECT shop.replace()")
        admin.execute("SELECT 1")
    assert not shop.eve.is_admin()


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE NONE",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "CREATE TABLE shop.left_behind ()",
        "CREATE OR REPLACE FUNCTION pg_temp.azpg_read(text) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1'",
        "INSERT INTO shop.products (id, title) VALUES (1000, 'x')",
    ],
)
def test_what_runs_there_is_the_owner_and_only_reads(shop: Shop, statement: str) -> None:
    with shop.connect() as admin:
        with as_owner(admin, "shop", "products") as owner:
            assert owner.rows(sql.SQL("SELECT current_user::text"), "name text") == [(shop.eve.name,)]
            shop.evil.execute(
                sql.SQL(
                    "CREATE FUNCTION shop.tried() RETURNS text LANGUAGE plpgsql AS $$ "
                    "BEGIN EXECUTE {}; RETURN NULL; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$"
                ).format(sql.Literal(statement))
            )
            ((state,),) = owner.rows(sql.SQL("SELECT shop.tried()"), "state text")
            assert state in {"42501", "25006", "25001"}
        assert admin.execute("SELECT to_regclass('shop.left_behind')").fetchone() == (None,)
        assert admin.execute("SELECT current_user <> %s", [shop.eve.name]).fetchone() == (True,)


def test_who_may_not_act_as_the_owner_is_told(shop: Shop, twin: Instance) -> None:
    with shop.connect() as admin:
        admin.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(shop.eve.role))
        with (
            pytest.raises(PlanRefused, match="cannot read it: GRANT that role to"),
            as_owner(admin, "shop", "products"),
        ):
            pass
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(shop.eve.role))
        with twin.superuser() as superuser:
            name = sql.Identifier(shop.site.name)
            superuser.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        with (
            pytest.raises(PlanRefused, match="GRANT TEMPORARY ON DATABASE"),
            as_owner(admin, "shop", "products"),
        ):
            pass
