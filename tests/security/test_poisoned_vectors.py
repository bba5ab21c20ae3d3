"""Writers with DML only: they cannot skip what azpg installed, and a vector that they replaced is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import sync
from azpg_provision.column import Sync
from azpg_provision.sync.volatility import is_volatile
from azpg_provision.vectorize import Outcome, backlog, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.integration.calls import counters
from tests.integration.vectorized import Table, session, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
MODES = [Sync.TRIGGER, Sync.QUEUE]
POISON = "weapons and explosives, buy now"
# What a writer can find out: all that is in the catalogues.
GUESSES = ["on", "off", "", "1", "azpg", r"\x00"]


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def made(table: Table, role: Attacker) -> Table:
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    if table.column.sync is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    table.connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON products TO {}").format(role.role)
    )
    return table


def waiting(table: Table, *, vectors: bool = True) -> int:
    with session(table) as looking:
        return backlog(looking, table.column, vectors=vectors).pending


@pytest.mark.parametrize("mode", MODES)
def test_no_setting_of_a_writers_skips_the_triggers(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """Review B6."""
    table = made(vectorized(twin, connection, mode=mode), eve)
    with eve.connect(database) as writer:
        public = [
            value
            for (value,) in writer.execute(
                "SELECT substring(pg_get_triggerdef(oid) FROM '''(\\\\x[0-9a-f]+)''') FROM pg_trigger"
                " WHERE NOT tgisinternal"
            )
            if value
        ]
        for number, guess in enumerate([*GUESSES, *dict.fromkeys(public)]):
            writer.execute("SELECT set_config('azpg_provision.worker', %s, false)", [guess])
            writer.execute(
                "UPDATE products SET embedding = (SELECT embedding FROM products WHERE id = 2) WHERE id = 1"
            )
            writer.execute("INSERT INTO products VALUES (%s, 'new')", [10 + number])
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    assert table.wrong() == []


@pytest.mark.parametrize("mode", [*MODES, Sync.NONE])
def test_a_vector_that_was_replaced_behind_azpg_is_seen_and_put_back(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    """By whoever may switch triggers off, or where there are none."""
    table = vectorized(twin, connection, mode=mode)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    run(table.connect, table.column)
    assert waiting(table) == 0
    table.execute(
        "ALTER TABLE products DISABLE TRIGGER USER;"
        "UPDATE products SET embedding = (SELECT embedding FROM products WHERE id = 2) WHERE id = 1;"
        "ALTER TABLE products ENABLE TRIGGER USER"
    )
    assert sync.installed(connection, table.column)
    assert table.wrong() == ["one"]
    assert waiting(table, vectors=False) == 0
    assert waiting(table) == 1
    assert run(table.connect, table.column) == Outcome(1, 0, 0)
    assert table.wrong() == []
    assert waiting(table) == 0


def test_a_vector_beside_a_recorded_failure_is_seen(twin: Instance, connection: Connection) -> None:
    """A row that could not be embedded has none: what stands there is somebody else's."""
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, repeat('long ', 4000000))")
    assert run(table.connect, table.column) == Outcome(1, 0, 1)
    assert waiting(table) == waiting(table, vectors=False) == 0
    table.execute(
        "UPDATE products SET embedding = (SELECT embedding FROM products WHERE id = 1) WHERE id = 2"
    )
    assert waiting(table) == waiting(table, vectors=False) == 1
    assert run(table.connect, table.column) == Outcome(0, 0, 1)
    assert table.execute("SELECT id FROM products WHERE embedding IS NULL").fetchall() == [(2,)]
    assert waiting(table) == 0
    assert [failure.key for failure in table.failed()] == [["2"]]


SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.categories (id int PRIMARY KEY, name text);
CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, category int, embedding vector(384));
CREATE FUNCTION shop.category(wanted int) RETURNS text LANGUAGE sql STABLE
RETURN (SELECT name FROM shop.categories WHERE id = wanted);
CREATE FUNCTION shop.counted(wanted int) RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = shop, pg_temp AS
$$ BEGIN RETURN (SELECT name FROM categories WHERE id = wanted); END $$;
CREATE FUNCTION shop.sworn(wanted int) RETURNS text LANGUAGE sql IMMUTABLE RETURN shop.category(wanted);
INSERT INTO shop.categories VALUES (1, 'garden')
"""
NOT_OF_THE_ROW = {
    "a table": "title || ' in ' || shop.category(category)",
    "a table, read anew each time": "title || ' in ' || shop.counted(category)",
    "a table, by a function that says IMMUTABLE": "title || ' in ' || shop.sworn(category)",
    "a setting": "concat_ws(' ', title, nullif(current_setting('shop.category', true), ''))",
    "the time": "title || extract(microsecond FROM clock_timestamp())",
}
# So that there is something to be put back.
BEFORE = "UPDATE shop.products SET title = title || ' ' WHERE id = 1"
ATTACKS = {
    "a table": f"""
    UPDATE shop.categories SET name = '{POISON}';
    WITH back AS (UPDATE shop.categories SET name = 'garden')
    UPDATE shop.products SET title = 'Garden hose' WHERE id = 1
    """,
    "a setting": f"""
    SET shop.category = '{POISON}';
    UPDATE shop.products SET title = 'Garden hose' WHERE id = 1 RETURNING set_config('shop.category', '', false)
    """,
    "the time": "UPDATE shop.products SET title = 'Garden hose' WHERE id = 1",
}


def shop(twin: Instance, connection: Connection, text: str, mode: Sync = Sync.TRIGGER) -> Table:
    connection.execute("SET search_path = public")
    return vectorized(twin, connection, create=SHOP, schema="shop", text=text, mode=mode)


@pytest.mark.parametrize(
    ("what", "mode"),
    # A queue is never done with a text that is another one whenever it is read.
    [(what, mode) for what in NOT_OF_THE_ROW for mode in MODES if (what, mode) != ("the time", Sync.QUEUE)],
)
def test_a_vector_of_a_text_that_was_there_for_a_moment_only_is_seen(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, mode: Sync
) -> None:
    """A statement can change what a text reads between the triggers that embed it and that note it."""
    table = shop(twin, connection, NOT_OF_THE_ROW[what], mode)
    table.execute("INSERT INTO shop.products VALUES (1, 'Garden hose', 1), (2, 'Lawn mower', 1)")
    connection.execute(
        sql.SQL(
            "GRANT USAGE ON SCHEMA shop TO {0}; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA shop TO {0}"
        ).format(eve.role)
    )
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    if what != "the time":
        assert table.wrong() == []
        assert waiting(table) == 0, "what the triggers note is right as long as nobody attacks"
    with eve.connect(database) as writer:
        writer.execute(BEFORE)
        writer.execute(ATTACKS[next(one for one in ATTACKS if what.startswith(one))])
    if what == "the time":
        assert waiting(table) > 0
        return
    if mode is Sync.TRIGGER:
        assert len(table.wrong()) == 1, "or this proves nothing"
        assert waiting(table) == 1
        run(table.connect, table.column)
    else:
        drain(table.connect, table.column, once=True)
    assert table.wrong() == []
    assert waiting(table) == 0


OF_THE_ROW = [
    "title",
    "title || category || left(title, 2) || DATE '2026-01-01'",
    "title || category::text || 'x'::varchar(3) || format('%s of %s', id, title)",
    "concat_ws(' ', title, category, id) || upper(title)",
    'title COLLATE "C"',
    "shop.norm(title)",
    "CASE WHEN category IN (1, 2) THEN title ELSE coalesce(title, 'none') END",
]


def test_a_text_of_its_row_alone_is_embedded_once(twin: Instance, connection: Connection) -> None:
    """And one that reads something else twice: once before it is written, and once to see that it was that text."""
    create = SHOP + "; CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1)"
    connection.execute("SET search_path = public")
    connection.execute(sql.SQL(create))
    for text in [*OF_THE_ROW, *NOT_OF_THE_ROW.values()]:
        table = vectorized(twin, connection, create="SELECT", schema="shop", text=text, mode=Sync.TRIGGER)
        before = counters(twin)["texts"]
        table.execute("INSERT INTO shop.products VALUES (1, 'Garden hose', 1), (2, 'Lawn mower', 1)")
        assert counters(twin)["texts"] - before == (2 if text in OF_THE_ROW else 4), text
        assert sync.installed(connection, table.column)
        table.execute("DELETE FROM shop.products")


def test_what_is_not_known_to_be_of_the_row_is_taken_for_more(twin: Instance, connection: Connection) -> None:
    connection.execute("SET search_path = public")
    connection.execute(
        sql.SQL(SHOP + "; CREATE DOMAIN shop.checked AS text CHECK (VALUE <> shop.category(1))")
    )
    connection.execute(
        "CREATE OPERATOR shop.@@@ (FUNCTION = shop.sworn, RIGHTARG = int)"  # by way of which a table is read
    )
    for text in (
        "title || now()",
        "title || current_date",
        "title || current_user",
        "title || random()",
        "title || to_char(DATE '2026-01-01', 'TMMonth')",
        "title || 5::money",
        "title || id::int::money",
        "concat(title, ROW(id))",
        "concat(title, ARRAY[id::int::money])",
        "concat(title, 'shop.products'::regclass)",
        "title || (OPERATOR(shop.@@@) category)",
        "title::shop.checked::text",
    ):
        table = vectorized(twin, connection, create="SELECT", schema="shop", text=text, mode=Sync.TRIGGER)
        assert is_volatile(connection, table.column), text


def test_a_function_that_is_not_of_the_row_any_more_makes_other_triggers(
    twin: Instance, connection: Connection
) -> None:
    connection.execute("SET search_path = public")
    create = SHOP + "; CREATE FUNCTION shop.norm(int) RETURNS text LANGUAGE sql IMMUTABLE RETURN $1::text"
    table = vectorized(
        twin, connection, create=create, schema="shop", text="title || shop.norm(category)", mode=Sync.TRIGGER
    )
    assert sync.installed(connection, table.column)
    table.execute(
        "CREATE OR REPLACE FUNCTION shop.norm(int) RETURNS text LANGUAGE sql STABLE RETURN shop.category($1)"
    )
    assert not sync.installed(connection, table.column)
    sync.install(connection, table.column)
    assert sync.installed(connection, table.column)


def test_a_model_host_that_is_silent_vouches_for_nothing(twin: Instance, connection: Connection) -> None:
    """The row keeps the vector that it has got, and waits."""
    table = shop(twin, connection, NOT_OF_THE_ROW["a table"])
    quiet = "(SELECT set_config('azpg_provision.silent_at', (1000 * extract(epoch FROM clock_timestamp()))::text, true))"
    table.execute(f"INSERT INTO shop.products VALUES (1, 'Garden hose', 1) RETURNING {quiet}")
    assert table.wrong() == []
    assert waiting(table) == 1
    assert run(table.connect, table.column) == Outcome(1, 0, 0)


def test_a_vector_of_which_nothing_is_known_is_taken_as_it_is(twin: Instance, connection: Connection) -> None:
    """As after an upgrade: nothing is embedded anew."""
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    run(table.connect, table.column)
    table.execute("UPDATE azpg.state_1 SET vector = NULL")
    assert run(table.connect, table.column) == Outcome(0, 0, 0)
    assert waiting(table) == 0


def test_a_trigger_of_the_owners_that_changes_the_vector_is_no_poison(
    twin: Instance, connection: Connection
) -> None:
    """What is known is the vector that is there after all triggers."""
    table = vectorized(twin, connection)
    table.execute(
        "CREATE FUNCTION half() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.embedding := NEW.embedding::real[]::public.vector; RETURN NEW; END';"
        "CREATE TRIGGER half BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION half();"
        "INSERT INTO products VALUES (1, 'one')"
    )
    run(table.connect, table.column)
    assert waiting(table) == 0


# What PostgreSQL's hash of an array is with the seed 0 stays the same where these numbers change their sign.
UNSEEN = [
    *(1, 4, 6, 11, 14, 17, 19, 20, 22, 25, 27, 31, 35, 37, 38, 39, 43, 44),
    *(47, 48, 50, 51, 52, 54, 56, 61, 62, 70, 71, 75, 78, 79, 83, 88, 89),
]


def test_no_vector_can_be_made_whose_hash_is_that_of_before(twin: Instance, connection: Connection) -> None:
    """Vectors are compared by a quick hash, of which collisions are easy to make where its seed is known."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    before = [float(number + 1) for number in range(384)]
    after = [-one if number in UNSEEN else one for number, one in enumerate(before)]
    hashes = "SELECT hash_array_extended(%s::real[], {0}) = hash_array_extended(%s::real[], {0})"
    for seed, same in ((0, True), (1, False)):
        row = connection.execute(sql.SQL(hashes).format(seed), [before, after]).fetchone()
        assert row == (same,), "or this proves nothing"
    table.execute("INSERT INTO products VALUES (1, 'one')")
    update = "UPDATE products SET embedding = %s::real[]::vector"
    table.execute("ALTER TABLE products DISABLE TRIGGER USER")
    connection.execute(update, [before])
    table.execute("ALTER TABLE products ENABLE TRIGGER USER; DELETE FROM azpg.queue_1")
    connection.execute(update, [before])
    assert table.execute("SELECT count(*) FROM azpg.queue_1").fetchone() == (0,)
    connection.execute(update, [after])
    assert table.execute("SELECT count(*) FROM azpg.queue_1").fetchone() == (1,)
