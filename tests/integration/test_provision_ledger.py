"""Schema `azpg`: made once, known again, refused when it is somebody else's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch

Connection = psycopg.Connection[Any]

COLUMN = VectorColumn(
    id=0,
    schema="public",
    table="products",
    column="embedding",
    keys=(Key("id", "bigint"),),
    text="title",
    model="all-minilm-l6-v2:v1",
    prefix="",
    dimensions=384,
    fingerprint=bytes(range(32)),
    sync=Sync.TRIGGER,
)
PLACE = (COLUMN.schema, COLUMN.table, COLUMN.column)
pytestmark = [pytest.mark.every_major, pytest.mark.vector]


def products(connection: Connection) -> None:
    connection.execute("CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector(384))")


def test_it_is_made_once(connection: Connection) -> None:
    assert ledger.version(connection) is None
    assert (ledger.columns(connection), ledger.owned(connection)) == ([], {})
    assert ledger.create(connection)
    assert not ledger.create(connection)
    assert ledger.version(connection) == ledger.VERSION


def test_one_that_is_not_ours_is_left_alone(connection: Connection) -> None:
    connection.execute("CREATE SCHEMA azpg")
    with pytest.raises(LedgerMismatch, match="a schema azpg that azpg has not made: rename it"):
        ledger.create(connection)


def test_one_of_another_version_is_refused(connection: Connection) -> None:
    ledger.create(connection)
    connection.execute("COMMENT ON SCHEMA azpg IS 'azpg 7: from the future'")
    with pytest.raises(LedgerMismatch, match="version 7, and this azpg knows versions 1 and 2 only"):
        ledger.columns(connection)


def test_a_role_that_may_not_see_it_is_told(connection: Connection) -> None:
    ledger.create(connection)
    name = f"stranger_{connection.info.backend_pid}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
    try:
        connection.execute(sql.SQL("SET ROLE {}").format(role))
        with pytest.raises(
            LedgerMismatch, match=f"the role '{name}' may not see schema azpg.*log in as the server's"
        ):
            ledger.columns(connection)
    finally:
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_column_is_kept_as_it_was_registered(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    registered = ledger.register(connection, COLUMN)
    assert ledger.columns(connection) == [registered] == [replace(COLUMN, id=registered.id)]
    assert ledger.register(connection, COLUMN) == registered
    connection.execute(sql.SQL("INSERT INTO {} (key_1, hash) VALUES (1, '')").format(registered.state))
    changed = ledger.register(connection, replace(COLUMN, prefix="passage: ", sync=Sync.QUEUE))
    assert ledger.columns(connection) == [changed]
    assert connection.execute(sql.SQL("SELECT key_1 FROM {}").format(changed.state)).fetchall() == [(1,)]


def test_another_key_begins_anew(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    first = ledger.register(connection, COLUMN)
    connection.execute(sql.SQL("INSERT INTO {} (key_1, hash) VALUES (1, '')").format(first.state))
    second = ledger.register(connection, replace(COLUMN, keys=(Key("title", "text"), Key("id", "bigint"))))
    assert second.id == first.id
    assert connection.execute(sql.SQL("SELECT key_1, key_2 FROM {}").format(second.state)).fetchall() == []


def test_a_renamed_table_is_found_and_a_dropped_one_is_not(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    ledger.register(connection, COLUMN)
    connection.execute("CREATE SCHEMA shop")
    connection.execute("ALTER TABLE products SET SCHEMA shop")
    connection.execute('ALTER TABLE shop.products RENAME TO "Wares"')
    assert [(one.schema, one.table) for one in ledger.columns(connection)] == [("shop", "Wares")]
    connection.execute('DROP TABLE shop."Wares"')
    assert ledger.columns(connection) == []


def test_keys_of_any_name_type_and_collation(connection: Connection) -> None:
    connection.execute('CREATE COLLATION odd FROM "POSIX"')
    connection.execute(
        """CREATE TABLE "select" (hash text COLLATE odd, "at" varchar(20) COLLATE "C", "a%s;""{}" numeric(6, 2), v vector(3),
        PRIMARY KEY (hash, "at", "a%s;""{}"))"""
    )
    ledger.create(connection)
    keys = (Key("hash", "text"), Key("at", "character varying(20)"), Key('a%s;"{}', "numeric(6,2)"))
    column = ledger.register(connection, replace(COLUMN, table="select", column="v", keys=keys))
    joined = sql.SQL("SELECT count(*) FROM {} AS t JOIN {} AS s ON (t.hash, t.at) = (s.key_1, s.key_2)")
    assert connection.execute(joined.format(column.relation, column.state)).fetchone() == (0,)
    assert connection.execute(joined.format(column.relation, column.queue)).fetchone() == (0,)


def test_a_key_that_is_gone_is_said(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    with pytest.raises(
        LedgerMismatch, match="has no column 'nr', which is of its key: run `azpg plan` again"
    ):
        ledger.register(connection, replace(COLUMN, keys=(Key("nr", "bigint"),)))
    assert ledger.columns(connection) == []


def test_a_forgotten_column_leaves_nothing(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    ledger.forget(connection, ledger.register(connection, COLUMN))
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relname ~ '^(state|queue)_[0-9]+$'"
    ).fetchall()
    assert (ledger.columns(connection), tables) == ([], [])
    assert connection.execute("SELECT embedding FROM products").fetchall() == []


def test_what_is_owned(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    ledger.own_init(connection, "%s; --.sql", "abc")
    connection.execute('CREATE INDEX "%s; --" ON products (id)')
    ledger.own_index(connection, "public", "%s; --", {"method": "hnsw"})
    ledger.own_column(connection, COLUMN)
    assert ledger.owned(connection) == {
        ("init", "%s; --.sql"): {"sha256": "abc"},
        ("index", 'public."%s; --"'): {"method": "hnsw"},
        ("column", "public.products.embedding"): ledger.definition(COLUMN) | {"generated": None},
    }
    assert ledger.owns(connection, "index", "public", "%s; --")
    assert ledger.owns(connection, "column", *PLACE)
    assert not ledger.owns(connection, "column", "public", "products", "title")
    assert not ledger.owns(connection, "index", "public", "gone")


def test_what_was_renamed_or_moved_is_owned_by_its_present_name(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    ledger.own_column(connection, COLUMN)
    ledger.register(connection, COLUMN)
    connection.execute(
        "CREATE SCHEMA shelf; ALTER TABLE products RENAME TO goods; ALTER TABLE goods SET SCHEMA shelf"
    )
    products(connection)
    assert list(ledger.owned(connection)) == [("column", "shelf.goods.embedding")]
    assert ledger.owns(connection, "column", "shelf", "goods", "embedding")
    assert not ledger.owns(connection, "column", *PLACE)


def test_what_is_not_there_is_not_owned(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    with pytest.raises(
        LedgerMismatch, match=r"^the index public\.gone is gone while azpg made it: run `azpg apply` again\.$"
    ):
        ledger.own_index(connection, "public", "gone", {})
    with pytest.raises(
        LedgerMismatch, match=r"^the column public\.products\.gone is gone while azpg made it"
    ):
        ledger.own_column(connection, replace(COLUMN, column="gone"))
    assert ledger.owned(connection) == {}


@pytest.mark.parametrize(
    "replaced",
    [
        "ALTER TABLE products DROP COLUMN embedding; ALTER TABLE products ADD COLUMN embedding vector(384)",
        "ALTER TABLE products RENAME COLUMN embedding TO e; ALTER TABLE products ADD COLUMN embedding vector(384)",
        "DROP TABLE products; CREATE TABLE products (id bigint PRIMARY KEY, embedding vector(384))",
        "ALTER TABLE products RENAME TO p; CREATE TABLE products (id bigint PRIMARY KEY, embedding vector(384))",
    ],
)
def test_what_somebody_else_made_by_the_same_name_is_not_owned(connection: Connection, replaced: str) -> None:
    products(connection)
    ledger.create(connection)
    ledger.own_column(connection, COLUMN)
    connection.execute(replaced)
    assert ledger.owned(connection) == {}
    assert not ledger.owns(connection, "column", *PLACE)


def test_what_is_known_of_a_dropped_table_goes_with_the_next_registration(connection: Connection) -> None:
    products(connection)
    ledger.create(connection)
    first = ledger.register(connection, COLUMN)
    connection.execute("DROP TABLE products")
    products(connection)
    second = ledger.register(connection, COLUMN)
    rows = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^state_[0-9]+$'").fetchall()
    assert rows == [(f"state_{second.id}",)] != [(f"state_{first.id}",)]
