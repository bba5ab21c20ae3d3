"""What hangs on a vectorized table runs with its owner's rights when azpg writes: none of it may be somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed, LedgerMismatch, PlanRefused, RowsFailed
from azpg_provision.index.evaluation import evaluate
from azpg_provision.index.search import search
from azpg_provision.plan.change import Change, Kind
from azpg_provision.plan.inspection import inspect
from azpg_provision.vectorize import Options, backlog, drain, run
from azpg_provision.vectorize.connections import Session, Unbound, hold
from azpg_provision.vectorize.failures import failed, forget
from azpg_provision.vectorize.queue import waiting
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
OPTIONS = Options(workers=1, attempts=1)


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who may create in a schema of her own, and may do with the admin's table in schema shop what GRANT ALL gives."""
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL(
                "CREATE SCHEMA shop; CREATE SCHEMA m;"
                "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, span int4range, n int);"
                "GRANT USAGE, CREATE ON SCHEMA m TO {0}; GRANT USAGE ON SCHEMA shop TO {0};"
                "GRANT ALL ON shop.products TO {0}; GRANT {0} TO CURRENT_USER"
            ).format(one.role)
        )
        yield one


def spec_of(site: Site, mode: Sync) -> Any:
    return site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: {mode.value}}}\n",
        init=None,
    )


def applied(site: Site, connection: Connection, mode: Sync) -> VectorColumn:
    site.apply(spec_of(site, mode))
    ((column,),) = [ledger.columns(connection)]
    return column


def refused(site: Site, connection: Connection, column: VectorColumn, said: str) -> None:
    """By whoever acts as the table's owner."""
    connect = connector(site.twin, site.name)
    with pytest.raises(PlanRefused, match=said):
        site.plan(spec_of(site, column.sync))
    with pytest.raises(RowsFailed, match=said):
        drain(connect, column, OPTIONS, once=True)
    with pytest.raises(PlanRefused, match=said):
        run(connect, column, OPTIONS)
    with connect() as one, pytest.raises(LedgerMismatch, match=said):
        backlog(one, column)
    for each in (failed, forget, waiting):
        with connect() as one, pytest.raises(LedgerMismatch, match=said):
            each(one, column)
    with connect() as one, pytest.raises(LedgerMismatch, match=said):
        search(one, column, "one")
    with pytest.raises(ApplyFailed, match=said):
        sync.install(connection, column)


TRIGGER = "CREATE FUNCTION m.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {0} RETURN NEW; END $$;"
TRIGGERS = {
    "before": TRIGGER + "CREATE TRIGGER t BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION m.t()",
    "after": TRIGGER + "CREATE TRIGGER t AFTER UPDATE ON shop.products EXECUTE FUNCTION m.t()",
    "deferred": TRIGGER + "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON shop.products INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION m.t()",
    "its condition": "CREATE FUNCTION m.t(shop.products) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {0} RETURN true; END $$;"
    "CREATE TRIGGER t BEFORE UPDATE ON shop.products FOR EACH ROW WHEN (m.t(NEW))"
    " EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
    "by an azpg name": TRIGGER + "CREATE TRIGGER azpg_99_update BEFORE UPDATE ON shop.products FOR EACH ROW"
    " WHEN (azpg.in_hand('shop.products', 'm.t()', true) OR true) EXECUTE FUNCTION m.t()",
}


@pytest.mark.parametrize("mode", [Sync.QUEUE, Sync.NONE])
@pytest.mark.parametrize("way", TRIGGERS)
def test_who_may_hang_triggers_on_a_table_does_not_act_as_its_owner(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, way: str, mode: Sync
) -> None:
    """Sixth attack, 11: GRANT ALL has the privilege TRIGGER in it."""
    site = Site(twin, tmp_path, name=database)
    column = applied(site, connection, mode)
    connection.execute(
        sql.SQL("GRANT USAGE ON SCHEMA azpg TO {}").format(eve.role)
    )  # as owners of tables have it
    with eve.connect(database) as evil:
        evil.execute(TRIGGERS[way].replace("{0}", eve.payload))
        evil.execute("INSERT INTO shop.products VALUES (1, 'one')")
    refused(site, connection, column, rf"the function m\.t\(.*\), which belongs to the role '{eve.name}'")
    assert not eve.is_admin()
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (0,)
    with eve.connect(database) as evil:
        evil.execute("DROP OWNED BY CURRENT_USER CASCADE")
    drain(connector(twin, database), column, OPTIONS, once=True) if mode is Sync.QUEUE else run(
        connector(twin, database), column, OPTIONS
    )
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (1,)


def test_a_worker_that_is_there_notices_a_trigger(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Before it writes, with a lock that keeps others from hanging one there in between."""
    site = Site(twin, tmp_path, name=database)
    column = applied(site, connection, Sync.QUEUE)
    session = Session(connector(twin, database))
    session.prepare(column)
    with session.connection as worker, eve.connect(database) as evil:
        with worker.transaction():
            hold(worker, column)
            evil.execute("SET lock_timeout = '10ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                evil.execute(TRIGGERS["before"].replace("{0}", eve.payload))
            evil.execute("RESET lock_timeout")
        evil.execute(TRIGGERS["before"].replace("{0}", eve.payload))
        session.prepare(column)
        with pytest.raises(Unbound, match=r"the trigger t of .*the function m\.t\(\)"), worker.transaction():
            hold(worker, column)


FUNCTION = (
    "CREATE FUNCTION m.f(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {0} RETURN $1; END $$;"
)
PREDICATE = (
    "CREATE FUNCTION m.p(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {0} RETURN true; END $$;"
)
DIFFERENCE = "CREATE FUNCTION m.d(text, text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {0} RETURN 1; END $$;"
# What hangs on a table, of what that has to be given away, and the function of it that somebody else has.
LEFT: dict[str, tuple[str, str]] = {
    "the trigger t": (TRIGGERS["before"], "m.t()"),
    "the index products_f_idx": (FUNCTION + "CREATE INDEX ON shop.products (m.f(title))", "m.f(text)"),
    "the index partial": (
        PREDICATE + "CREATE INDEX partial ON shop.products (id) WHERE m.p(title)",
        "m.p(text)",
    ),
    "the index ranges": (
        DIFFERENCE
        + "CREATE TYPE m.r AS RANGE (subtype = text, subtype_diff = m.d); ALTER TABLE shop.products ADD r m.r;"
        "CREATE INDEX ranges ON shop.products USING gist (r)",
        "m.d(text,text)",
    ),
    "the constraint c": (
        PREDICATE + "ALTER TABLE shop.products ADD CONSTRAINT c CHECK (m.p(title))",
        "m.p(text)",
    ),
    "the constraint d": (
        PREDICATE + "CREATE DOMAIN m.dom AS text CHECK (m.p(VALUE));"
        "ALTER TABLE shop.products ADD CONSTRAINT d CHECK (title::m.dom <> '')",
        "m.p(text)",
    ),
    "the constraint o": (
        "CREATE FUNCTION m.o(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN {0} RETURN true; END $$;"
        "CREATE OPERATOR m.=== (FUNCTION = m.o, LEFTARG = text, RIGHTARG = text);"
        "ALTER TABLE shop.products ADD CONSTRAINT o CHECK (title OPERATOR(m.===) '')",
        "m.o(text,text)",
    ),
    "the constraint b": (
        PREDICATE + "CREATE FUNCTION shop.b(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN m.p($1);"
        "ALTER TABLE shop.products ADD CONSTRAINT b CHECK (shop.b(title))",
        "m.p(text)",
    ),
    "the generated column g": (
        FUNCTION + "ALTER TABLE shop.products ADD g text GENERATED ALWAYS AS (m.f(title)) STORED",
        "m.f(text)",
    ),
    "the statistics s": (
        FUNCTION + "CREATE STATISTICS shop.s ON (m.f(title)) FROM shop.products",
        "m.f(text)",
    ),
    "the rule r": (
        PREDICATE + "CREATE RULE r AS ON UPDATE TO shop.products WHERE m.p(OLD.title) DO ALSO NOTHING",
        "m.p(text)",
    ),
}


def replaced(made: str, eve: Attacker) -> str:
    """The function by its new body, which makes its owner an admin where an admin runs it."""
    function = made.partition("$$;")[0].replace("CREATE", "CREATE OR REPLACE", 1)
    return function.replace("{0}", eve.payload) + "$$"


@pytest.mark.parametrize("what", LEFT)
def test_what_others_have_of_what_hangs_there_is_noticed(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, what: str
) -> None:
    """Sixth attack, 11b and 11c: by plan, drift, apply, and whoever embeds; and what the owner has is taken."""
    made, function = LEFT[what]
    connection.execute(made.replace("{0}", ""))
    site = Site(twin, tmp_path, name=database)
    column = applied(site, connection, Sync.QUEUE)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    connection.execute(sql.SQL(f"ALTER FUNCTION {function} OWNER TO {{}}").format(eve.role))
    with eve.connect(database) as evil:
        evil.execute(replaced(made, eve))
    named = function.replace("(", r"\(").replace(")", r"\)")
    refused(
        site,
        connection,
        column,
        f'{what} of "shop"."products" depends on the function {named}, which belongs to the role \'{eve.name}\'',
    )
    assert not eve.is_admin()
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (0,)
    with twin.superuser(database) as superuser:
        superuser.execute(f"ALTER FUNCTION {function} OWNER TO CURRENT_USER")
    site.plan(spec_of(site, Sync.QUEUE))


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
@pytest.mark.parametrize("what", ["the trigger t", "the index products_f_idx"])
def test_what_a_former_owner_left_does_not_run_as_the_new_one(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    what: str,
    mode: Sync,
) -> None:
    """Sixth attack, 11b and 11c, as they were: the table changes hands, and apply would embed all anew."""
    made, function = LEFT[what]
    connection.execute(
        sql.SQL(
            "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT USAGE ON SCHEMA azure_local_ai TO {0};"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(eve.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, mode)
    with eve.connect(database) as evil:
        evil.execute(made.replace("{0}", ""))
        evil.execute("INSERT INTO shop.products VALUES (1, 'one')")
        site.apply(spec)
        assert site.plan(spec).changes == ()
        connection.execute("ALTER TABLE shop.products OWNER TO CURRENT_USER")
        evil.execute(replaced(made, eve))
        with pytest.raises(PlanRefused, match=f"{what} of .* which belongs to the role '{eve.name}'"):
            site.plan(spec)
        connection.execute(f"ALTER FUNCTION {function} OWNER TO CURRENT_USER")

        def give(change: Change) -> None:
            """What the plan has not seen."""
            if change.kind is Kind.SYNC:
                connection.execute(sql.SQL(f"ALTER FUNCTION {function} OWNER TO {{}}").format(eve.role))

        with pytest.raises(ApplyFailed, match=f"{what} of .* which belongs to the role '{eve.name}'"):
            site.apply(spec, begin=give)
        assert not eve.is_admin()
    connection.execute(f"ALTER FUNCTION {function} OWNER TO CURRENT_USER")
    connection.execute(
        made.partition("$$;")[0].replace("CREATE", "CREATE OR REPLACE", 1).replace("{0}", "") + "$$"
    )
    site.apply(spec)
    assert site.plan(spec).changes == ()


SEEN = "CREATE FUNCTION m.f(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_catalog.set_config('m.seen', 'yes', false); RETURN $1; END $$;"


def test_a_look_runs_nothing_of_others_as_the_owner(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """What is constant in an index is computed by whoever looks at its table."""
    connection.execute(
        SEEN + "CREATE INDEX constant ON shop.products (id) WHERE m.f('x') = 'y';"
        "INSERT INTO shop.products SELECT n, 'title ' || n FROM generate_series(1, 20) AS n"
    )
    site = Site(twin, tmp_path, name=database)
    column = applied(site, connection, Sync.NONE)
    connection.execute(
        sql.SQL(
            "CREATE INDEX ON shop.products USING hnsw (embedding vector_cosine_ops);"
            "ALTER FUNCTION m.f OWNER TO {}; RESET m.seen"
        ).format(eve.role)
    )
    with pytest.raises(PlanRefused, match=r"the index constant of .*the function m\.f\(text\)"):
        evaluate(connection, column)
    query = "SELECT coalesce(current_setting('m.seen', true), '')"
    assert connection.execute(query).fetchone() == ("",)


ORDINARY = """
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := 1; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON shop.products FOR EACH ROW WHEN (NEW.title IS NOT NULL)
    EXECUTE FUNCTION shop.touch();
CREATE TRIGGER again BEFORE UPDATE ON shop.products FOR EACH ROW
    EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();
CREATE TRIGGER changed AFTER UPDATE ON shop.products FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION shop.touch();
CREATE TRIGGER words BEFORE UPDATE ON shop.products FOR EACH ROW
    EXECUTE FUNCTION pg_catalog.tsvector_update_trigger(words, 'pg_catalog.english', title);
CREATE TABLE shop.kinds (id int PRIMARY KEY);
INSERT INTO shop.kinds VALUES (1);
ALTER TABLE shop.products ADD words tsvector, ADD kind int DEFAULT 1 REFERENCES shop.kinds,
    ADD up bigint REFERENCES shop.products DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION shop.fine(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN length($1) < 99; END $$;
CREATE FUNCTION shop.low(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);
CREATE DOMAIN shop.code AS text CHECK (shop.fine(VALUE));
CREATE TYPE shop.mood AS ENUM ('a', 'b');
ALTER TABLE shop.products ADD CHECK (shop.fine(title)), ADD code shop.code DEFAULT 'x', ADD mood shop.mood DEFAULT 'a',
    ADD lower text GENERATED ALWAYS AS (shop.low(title)) STORED, ADD CHECK (mood <> 'b'), ADD CHECK (code::shop.code <> '');
CREATE INDEX ON shop.products (shop.low(title)) WHERE shop.fine(title);
CREATE INDEX ON shop.products USING gist (span);
CREATE STATISTICS shop.s ON (shop.low(title)), title FROM shop.products;
ALTER TABLE shop.products ADD EXCLUDE USING gist (span WITH &&)
"""


@pytest.mark.parametrize("whose", ["the admin's", "a role's"])
@pytest.mark.parametrize("mode", Sync)
def test_ordinary_tables_are_taken(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    mode: Sync,
    whose: str,
) -> None:
    connection.execute(ORDINARY)
    connection.execute("DROP TRIGGER again ON shop.products" if mode is Sync.GENERATED else "SELECT")
    if whose == "a role's":
        with twin.superuser(database) as superuser:
            superuser.execute(
                sql.SQL(
                    "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT USAGE ON SCHEMA azure_local_ai TO {0};"
                    "ALTER TABLE shop.products OWNER TO {0}; ALTER TABLE shop.kinds OWNER TO {0};"
                    "ALTER FUNCTION shop.touch OWNER TO {0}; ALTER DOMAIN shop.code OWNER TO {0};"
                ).format(eve.role)
            )
    connection.execute("INSERT INTO shop.products (id, title) VALUES (1, 'one'), (2, NULL)")
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, mode)
    site.apply(spec)
    connection.execute("INSERT INTO shop.products (id, title) VALUES (3, 'three')")
    site.apply(spec)
    assert site.plan(spec).changes == ()
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (2,)


def test_functions_of_who_could_act_as_the_owner_are_taken(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """A member of the role that owns the table, of which many make what hangs there."""
    with attacker(twin, database) as group:
        connection.execute(
            sql.SQL("GRANT {0} TO {1}; GRANT {0} TO CURRENT_USER").format(group.role, eve.role)
        )
        connection.execute(
            sql.SQL(
                "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT USAGE ON SCHEMA azure_local_ai TO {0};"
                "ALTER TABLE shop.products OWNER TO {0}"
            ).format(group.role)
        )
        with eve.connect(database) as member:
            member.execute(TRIGGERS["before"].replace("{0}", ""))
            member.execute("INSERT INTO shop.products VALUES (1, 'one')")
        site = Site(twin, tmp_path, name=database)
        column = applied(site, connection, Sync.QUEUE)
        assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (1,)
        connection.execute(sql.SQL("REVOKE {0} FROM {1}").format(group.role, eve.role))
        refused(site, connection, column, r"the function m\.t\(\)")


def test_the_name_of_a_table_decides_nothing(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """A former owner's trigger of azpg's is known by the whole of its condition, whatever stands in a name."""
    connection.execute(
        sql.SQL(
            "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT USAGE ON SCHEMA azure_local_ai TO {0};"
            'ALTER TABLE shop.products RENAME TO "products, true)"; ALTER TABLE shop."products, true)" OWNER TO {0}'
        ).format(eve.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: 'products, true)'\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: queue}}\n",
        init=None,
    )
    site.apply(spec)
    assert site.plan(spec).changes == ()
    connection.execute('ALTER TABLE shop."products, true)" OWNER TO CURRENT_USER')
    assert Kind.SYNC in {change.kind for change in site.plan(spec).changes}
    site.apply(spec)
    assert site.plan(spec).changes == ()


WAITS = """
CREATE TABLE shop.aaa (id bigint PRIMARY KEY, title text);
CREATE FUNCTION shop.waits(text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN $1; END $$;
INSERT INTO shop.aaa VALUES (1, 'one')
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"


def test_what_is_attached_while_others_are_looked_at_is_noticed(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """All tables are judged at once, and one once more if anything was committed before it is its turn."""
    connection.execute(WAITS)
    site = Site(twin, tmp_path, name=database)
    columns = "".join(
        f"  - {{name: {table}, schema: shop, embeddings: [{{column: embedding, expression: {text}, model: {URI}, sync: none}}]}}\n"
        for table, text in (("aaa", "shop.waits(title)"), ("products", "title"))
    )
    spec = site.spec(HEAD + "  tables:\n" + columns, init=None)
    site.apply(spec)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    place = ("shop", "products", "embedding")
    for attached, rows in ((False, 1), (True, 0)):
        connection.execute("SELECT pg_advisory_lock(4711)")
        with ThreadPoolExecutor(1) as pool, eve.connect(database) as evil:
            try:
                looks = pool.submit(inspect, site.target, spec)
                assert wait_for(lambda: evil.execute(WAITING).fetchone() == (1,), timeout=60)
                if attached:
                    evil.execute(TRIGGERS["before"].replace("{0}", eve.payload))
            finally:
                connection.execute("SELECT pg_advisory_unlock(4711)")
        assert looks.result().databases[database].pending[place] == rows
