"""Operators of extensions in `public`: nobody's own is found in their place, whatever type a column gets later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from azpg.errors import AzpgError
from azpg_provision import ledger, sync
from azpg_provision.column import Key, Sync
from azpg_provision.errors import PlanRefused
from azpg_provision.index.definition import VectorIndex
from azpg_provision.index.probe import Probe, Question
from azpg_provision.index.search import search
from azpg_provision.vectorize import Outcome, drain, keys, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.calls import counters
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import Table, vectorized
from tests.security.roles import Attacker, Connection, attacker

pytestmark = pytest.mark.vector

# Each fits better than what the extension has, where one side is of another type by now.
EQUAL = """
CREATE FUNCTION public.{name}({left}, {right}) RETURNS bool LANGUAGE plpgsql
    AS $$ BEGIN {payload} RETURN $1::text OPERATOR(pg_catalog.=) $2::text; END $$;
CREATE OPERATOR public.{operator} (FUNCTION = public.{name}, LEFTARG = {left}, RIGHTARG = {right});
"""


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who may create in public, and has no right to a table."""
    with attacker(twin, database) as one:
        connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(one.role))
        yield one


def squat(eve: Attacker, database: str, type_: str, later: str) -> None:
    pairs = [(later, later), (later, type_), (type_, later)]
    with eve.connect(database) as evil:
        for number, (left, right) in enumerate(pairs):
            for operator, word in (("=", "equal"), (">", "after"), ("<=", "not_after")):
                evil.execute(
                    EQUAL.format(
                        name=f"{word}_{number}",
                        left=left,
                        right=right,
                        operator=operator,
                        payload=eve.payload,
                    )
                )


def keyed(
    twin: Instance, connection: Connection, parts: dict[str, str], mode: Sync, extension: str = "citext"
) -> Table:
    """A table whose key has these columns, of an extension's types."""
    if extension:
        with twin.superuser(connection.info.dbname) as superuser:
            superuser.execute(f"CREATE EXTENSION {extension} SCHEMA public")
    columns = ", ".join(f"{name} {type_}" for name, type_ in parts.items())
    return vectorized(
        twin,
        connection,
        create=f"CREATE TABLE products ({columns}, title text, embedding vector(384), PRIMARY KEY ({', '.join(parts)}))",
        keys=tuple(Key(name, type_) for name, type_ in parts.items()),
        mode=mode,
    )


def attack(table: Table, eve: Attacker, parts: dict[str, str], later: str, values: tuple[str, str]) -> None:
    """Lets the key get another type, makes operators for that, and writes and embeds rows."""
    connection, column = table.connection, table.column
    database, names = connection.info.dbname, ", ".join(parts)
    first = ", ".join(values[0] for _ in parts)
    connection.execute(f"INSERT INTO products ({names}, title) VALUES ({first}, 'one')")
    run(table.connect, column)
    for name in parts:
        connection.execute(f"ALTER TABLE products ALTER COLUMN {name} TYPE {later}")
    squat(eve, database, f"public.{parts['a']}", later)
    connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON products TO {}").format(eve.role))
    with eve.connect(database) as writer:
        for statement in (
            "UPDATE products SET title = 'two'",
            f"UPDATE products SET a = {values[1]}",
            f"INSERT INTO products ({names}, title) VALUES ({first}, 'three')",
            "DELETE FROM products WHERE title = 'two'",
        ):
            writer.execute("SET search_path = pg_catalog, public")
            writer.execute(statement)
            assert not eve.is_admin(), statement
    with contextlib.suppress(AzpgError):
        (column,) = ledger.columns(connection)
        if column.sync is Sync.QUEUE:
            drain(table.connect, column, once=True)
        run(table.connect, column)
    assert not eve.is_admin()
    with contextlib.suppress(AzpgError):
        table.backlog()
    assert not eve.is_admin()


@pytest.mark.parametrize("parts", [{"a": "citext"}, {"a": "citext", "b": "citext"}], ids=["one", "two"])
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_a_key_that_gets_another_type_finds_no_operator_of_others(
    twin: Instance, connection: Connection, eve: Attacker, mode: Sync, parts: dict[str, str]
) -> None:
    """The triggers, the worker and the looks still have the names that they had."""
    attack(keyed(twin, connection, parts, mode), eve, parts, "text", ("'a'", "'b'"))


@pytest.mark.every_major
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_nor_does_a_key_of_vectors(twin: Instance, connection: Connection, eve: Attacker, mode: Sync) -> None:
    """Which have operators of their own on every server."""
    parts = {"a": "vector"}
    attack(keyed(twin, connection, parts, mode, ""), eve, parts, "real[]", ("'{1}'::real[]", "'{2}'::real[]"))


MOVED = """
CREATE DOMAIN public.citext AS text;
CREATE FUNCTION public.alike(text, text) RETURNS bool LANGUAGE plpgsql
    AS $$ BEGIN {payload} RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
CREATE OPERATOR public.= (FUNCTION = public.alike, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION public.spring(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN true; END $$;
ALTER DOMAIN public.citext ADD CHECK (public.spring(VALUE))
"""


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_an_extension_that_moves_leaves_no_name_to_others(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """Where it was, somebody else makes a type and operators by the names that the triggers have."""
    table = keyed(twin, connection, {"a": "citext"}, mode)
    connection.execute("INSERT INTO products (a, title) VALUES ('a', 'one')")
    run(table.connect, table.column)
    (begun,) = ledger.columns(connection)
    with twin.superuser(database) as superuser:
        superuser.execute("CREATE SCHEMA ext; ALTER EXTENSION citext SET SCHEMA ext")
        superuser.execute("GRANT USAGE ON SCHEMA ext TO PUBLIC")
    connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON products TO {}").format(eve.role))
    warnings: list[str] = []
    with eve.connect(database) as evil:
        evil.execute(MOVED.format(payload=eve.payload))
        evil.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        for statement in (
            "UPDATE products SET title = 'two'",
            "UPDATE products SET a = 'b'",
            "INSERT INTO products (a, title) VALUES ('c', 'three')",
            "DELETE FROM products WHERE title = 'two'",
        ):
            evil.execute(statement)
            assert not eve.is_admin(), statement
    assert {*warnings} == {
        "azpg: rows of public.products keep the embeddings that they had: "
        "a type of its key has another name, or schema"
    }
    said = "a type of its key has another name, .*: run `azpg apply`, which takes the new name, then run this again"
    with pytest.raises(PlanRefused, match=said):
        run(table.connect, begun)  # by who has been at it since before
    assert not eve.is_admin()
    (column,) = ledger.columns(connection)
    assert not sync.installed(connection, column)
    sync.install(connection, column)
    assert sync.installed(connection, column)
    if mode is Sync.QUEUE:
        drain(table.connect, column, once=True)
    run(table.connect, column)
    assert not eve.is_admin()
    assert table.wrong() == []


def test_an_old_snapshot_does_not_hide_that_an_extension_moved(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    keyed(twin, connection, {"a": "citext"}, Sync.TRIGGER)
    connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON products TO {}").format(eve.role))
    with eve.connect(database) as writer, eve.connect(database) as evil:
        writer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class LIMIT 1")
        with twin.superuser(database) as superuser:
            superuser.execute("CREATE SCHEMA ext; ALTER EXTENSION citext SET SCHEMA ext")
            superuser.execute("GRANT USAGE ON SCHEMA ext TO PUBLIC")
        evil.execute(MOVED.format(payload=eve.payload))
        writer.execute("INSERT INTO products (a, title) VALUES ('c', 'three')")
        writer.execute("COMMIT")
    assert not eve.is_admin()


@pytest.mark.parametrize("mode", ["trigger", "queue"])
def test_an_apply_after_another_type_converges(
    twin: Instance, connection: Connection, database: str, tmp_path: Path, mode: str
) -> None:
    with twin.superuser(database) as superuser:
        superuser.execute("CREATE EXTENSION citext SCHEMA public")
    connection.execute("CREATE TABLE products (a citext PRIMARY KEY, title text)")
    connection.execute("INSERT INTO products VALUES ('a', 'one')")
    site = Site(twin, tmp_path, database)
    column = f"{{column: embedding, source: [title], model: {URI}, sync: {mode}}}"
    spec = site.spec(HEAD + f"  tables:\n  - name: products\n    embeddings:\n    - {column}\n", init=None)
    for type_ in ("citext", "text", "citext", "varchar(9)"):
        connection.execute(f"ALTER TABLE products ALTER COLUMN a TYPE {type_}")
        site.apply(spec)
        assert site.plan(spec).changes == ()
        connection.execute("UPDATE products SET title = title || '!'")


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_triggers_of_before_are_made_anew_and_nothing_is_embedded(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    """An earlier azpg compared values as they were."""
    table = keyed(twin, connection, {"a": "citext"}, mode)
    (column,) = ledger.columns(connection)
    earlier = replace(column, keys=tuple(replace(key, compared_as=None) for key in column.keys))
    sync.install(connection, earlier)
    connection.execute("INSERT INTO products (a, title) VALUES ('a', 'one')")
    run(table.connect, column)
    assert not sync.installed(connection, column)
    texts = counters(twin)["texts"]
    sync.install(connection, column)
    assert sync.installed(connection, column)
    assert run(table.connect, column) == Outcome(0, 0, 0)
    assert counters(twin)["texts"] == texts


NEAR = """
CREATE FUNCTION public.near({left}, {right}) RETURNS float8 LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'it ran as %', current_user; END $$;
CREATE OPERATOR public.<=> (FUNCTION = public.near, LEFTARG = {left}, RIGHTARG = {right});
"""


@pytest.mark.every_major
@pytest.mark.parametrize("type_", ["public.halfvec(384)", "real[]", "public.vector(384)"])
def test_vectors_of_another_type_are_compared_by_pgvectors_operator(
    twin: Instance, connection: Connection, database: str, eve: Attacker, type_: str
) -> None:
    """By search, and by who judges an index."""
    table = vectorized(twin, connection)
    connection.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    run(table.connect, table.column)
    connection.execute(f"ALTER TABLE products ALTER COLUMN embedding TYPE {type_}")
    with eve.connect(database) as evil:
        for left in ("public.halfvec", "real[]"):
            evil.execute(NEAR.format(left=left, right="public.vector"))
    with table.connect() as session:
        found = search(session, table.column, "two")
    assert (found[0].key, round(found[0].distance, 3)) == ({"id": 2}, 0)
    with table.connect() as session:
        probe = Probe(session, table.column, VectorIndex(), vector_schema="public", limit=5)
        with probe.settings() as owner:
            distances, _ = probe.nearest(owner, Question(f"[{','.join(['1'] * 384)}]", 0))
    assert len(distances) == 2


@pytest.mark.every_major
def test_an_index_is_used_as_before(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    connection.execute("CREATE INDEX near ON products USING hnsw (embedding vector_cosine_ops)")
    with table.connect() as session:
        probe = Probe(session, table.column, VectorIndex(), vector_schema="public", limit=5)
        with probe.settings(enable_seqscan="off") as owner:
            assert probe.uses(owner, Question(f"[{','.join(['1'] * 384)}]", 0)) == "near"


def test_the_index_of_a_key_is_used_as_before(twin: Instance, connection: Connection) -> None:
    """A cast to the type that a column has is none."""
    table = keyed(twin, connection, {"a": "citext"}, Sync.NONE)
    (column,) = ledger.columns(connection)
    query = sql.SQL("EXPLAIN SELECT FROM products, azpg.state_1 AS azpg_state WHERE {}")
    with table.connect() as session:
        session.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        session.execute("SET search_path = public")
        plan = "\n".join(
            row[0] for row in session.execute(query.format(keys.same(column, None, "azpg_state")))
        )
    assert "Index Cond: (a = azpg_state.key_1)" in plan or "Index Cond: (key_1 = products.a)" in plan
