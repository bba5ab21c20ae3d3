"""Functions that somebody else has put where those of azure_local_ai are not, or not any more: none is called."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import live
from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed, AzpgError, ExtensionMismatch, RowsFailed
from azpg_provision.index.evaluation import evaluate
from azpg_provision.index.search import search
from azpg_provision.live.local_ai import require
from azpg_provision.plan.change import Change, Kind
from azpg_provision.plan.sampling import rows_per_second
from azpg_provision.preflight.needs import Database, Model, Needs
from azpg_provision.preflight.run import run as preflight
from azpg_provision.spec.model import Spec
from azpg_provision.target.local import LocalTarget
from azpg_provision.vectorize import Connections, Options, drain, run, silent
from azpg_provision.vectorize.estimate import seconds
from azpg_provision.vectorize.hand import Hand
from azpg_provision.vectorize.serve import Service
from azpg_provision.vectorize.work import Tally
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, TABLE, Site
from tests.integration.vectorized import Table, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

SCHEMA = "CREATE SCHEMA azure_local_ai; GRANT USAGE ON SCHEMA azure_local_ai TO PUBLIC;"
# They fit what azpg calls at least as well as the extension's own. That one was called stays known after a rollback.
TRAPS = """
CREATE SCHEMA hers;
CREATE SEQUENCE hers.calls;
CREATE FUNCTION hers.pwn() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM nextval('hers.calls');
    {payload}
END $$;
GRANT USAGE ON SCHEMA hers TO PUBLIC;
GRANT ALL ON hers.calls TO PUBLIC;
"""
FITTING = {
    "model_metadata(varchar)": "RETURNS jsonb",
    "set_setting(text, text)": "RETURNS void",
    "model_register(text, text, text)": "RETURNS bigint",
    "get_setting(text[])": "RETURNS jsonb",
    "create_embeddings(text, text)": "RETURNS real[]",
    "create_embeddings(text, text[])": "RETURNS TABLE (embedding real[])",
    "create_embeddings(text, text[], integer)": "RETURNS TABLE (embedding real[])",
    "create_embeddings(text, text[], bigint[], integer)": "RETURNS TABLE (id bigint, embedding real[])",
}
SAME = {
    "model_metadata(text)": "RETURNS jsonb",
    "create_embeddings(text, text, integer)": "RETURNS real[]",
}


@pytest.fixture
def eve(twin: Instance, database: str, connection: Connection) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), one.role)
        )
        yield one
        with twin.superuser(database) as superuser:  # who alone could drop what is the extension's
            superuser.execute("DROP EXTENSION IF EXISTS azure_local_ai CASCADE")


def squat(eve: Attacker, database: str, *, instead: bool = True) -> None:
    """Makes her functions: `instead` of the extension's, or beside them."""
    made = {**FITTING, **(SAME if instead else {})}
    functions = "".join(
        f"CREATE FUNCTION azure_local_ai.{name} {returns} LANGUAGE plpgsql AS $$ BEGIN PERFORM hers.pwn();"
        " RAISE EXCEPTION 'squatted' USING ERRCODE = '58000'; END $$;"
        for name, returns in made.items()
    )
    with eve.connect(database) as evil:
        evil.execute(TRAPS.format(payload=eve.payload) + (SCHEMA if instead else "") + functions)


def replaced(twin: Instance, connection: Connection, eve: Attacker) -> None:
    """The extension was dropped, and she has made what azpg would call."""
    connection.execute("DROP EXTENSION azure_local_ai CASCADE")
    squat(eve, connection.info.dbname)


def given(twin: Instance, connection: Connection, eve: Attacker) -> None:
    """A superuser has given her the extension's schema."""
    with twin.superuser(connection.info.dbname) as superuser:
        superuser.execute(sql.SQL("ALTER SCHEMA azure_local_ai OWNER TO {}").format(eve.role))
    squat(eve, connection.info.dbname, instead=False)


def granted(twin: Instance, connection: Connection, eve: Attacker) -> None:
    """A superuser lets her create in it."""
    with twin.superuser(connection.info.dbname) as superuser:
        superuser.execute(sql.SQL("GRANT CREATE ON SCHEMA azure_local_ai TO {}").format(eve.role))
    squat(eve, connection.info.dbname, instead=False)


def revoked(twin: Instance, connection: Connection, eve: Attacker) -> None:
    """Not any more, but what she has made is there."""
    granted(twin, connection, eve)
    with twin.superuser(connection.info.dbname) as superuser:
        superuser.execute(sql.SQL("REVOKE CREATE ON SCHEMA azure_local_ai FROM {}").format(eve.role))


WAYS: dict[Callable[[Instance, Connection, Attacker], None], str] = {
    replaced: "has a schema azure_local_ai that is not the extension's, but belongs to the role '{eve}'",
    given: "schema azure_local_ai of the database .* belongs to the role '{eve}', which is no admin",
    granted: "azure_local_ai.create_embeddings.* belongs to the role '{eve}', and could take the place",
    revoked: "azure_local_ai.create_embeddings.* belongs to the role '{eve}', and could take the place",
}
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def nothing_ran(connection: Connection, eve: Attacker) -> bool:
    row = connection.execute("SELECT is_called FROM hers.calls").fetchone()
    assert row is not None
    return not row[0] and not eve.is_admin()


def products(twin: Instance, connection: Connection, mode: Sync) -> Table:
    """With twelve rows that have their embedding, an index, and one that waits."""
    table = vectorized(twin, connection, mode=mode)
    connection.execute("INSERT INTO products SELECT n, 'text ' || n FROM generate_series(1, 12) AS n")
    run(table.connect, table.column, Options(workers=1))
    connection.execute(
        "CREATE INDEX products_embedding ON products USING hnsw (embedding vector_cosine_ops);"
        "INSERT INTO products VALUES (13, 'waits')"
    )
    return table


def hand(table: Table) -> None:
    """What a worker does after some failures."""
    connections = Connections(1)
    try:
        options = Options(workers=1)
        tally = Tally(options, silent)
        Hand(table.connect, table.column, options, tally, threading.Event(), connections)._model_answers()
    finally:
        connections.close()


CALLS: dict[str, Callable[[Table], Any]] = {
    "vectorize": lambda table: run(table.connect, table.column, Options(workers=1, attempts=1)),
    "worker": lambda table: drain(
        table.connect, table.column, Options(workers=1, attempts=1, batch_rows=1), once=True
    ),
    "a worker that fails": hand,
    "vectorize --dry-run": lambda table: seconds(table.connection, table.column, 1),
    "search": lambda table: search(table.connection, table.column, "question"),
    "index evaluate": lambda table: evaluate(table.connection, table.column, questions=["question"]),
    "apply": lambda table: live.model(table.connection, URI),
}


@ways
@pytest.mark.parametrize("call", CALLS)
def test_none_of_them_is_called(
    twin: Instance,
    connection: Connection,
    eve: Attacker,
    way: Callable[[Instance, Connection, Attacker], None],
    call: str,
) -> None:
    """Neither as who runs azpg, nor as the table's owner."""
    table = products(twin, connection, Sync.QUEUE)
    way(twin, connection, eve)
    with pytest.raises(AzpgError) as caught:
        CALLS[call](table)
    assert nothing_ran(connection, eve)
    caught.match(WAYS[way].format(eve=eve.name))
    assert isinstance(caught.value, ExtensionMismatch | RowsFailed)


@pytest.mark.parametrize("call", CALLS)
def test_without_the_extension_it_says_what_to_do(twin: Instance, connection: Connection, call: str) -> None:
    table = products(twin, connection, Sync.QUEUE)
    connection.execute("DROP EXTENSION azure_local_ai CASCADE")
    with pytest.raises(AzpgError, match=r"does not have the extension azure_local_ai: .*`azpg apply`"):
        CALLS[call](table)
    connection.execute("CREATE EXTENSION azure_local_ai")
    run(table.connect, table.column, Options(workers=1))
    assert table.wrong() == []


def test_a_running_worker_notices(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """And goes on when the extension is there again."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    said: list[str] = []
    stop = threading.Event()
    service = Service(
        {database: table.connect},
        Options(workers=1),
        once=False,
        tell=lambda _: None,
        complain=said.append,
        rest=1.0,  # it may look in the moment in which there is none
    )
    running = threading.Thread(target=service.run, args=[stop])
    running.start()
    try:
        connection.execute("INSERT INTO products VALUES (1, 'one')")
        assert wait_for(lambda: table.backlog() == (1, 0, 0), timeout=60)
        replaced(twin, connection, eve)
        connection.execute("INSERT INTO products VALUES (2, 'two')")
        assert wait_for(lambda: any("is not the extension's" in one for one in said), timeout=60), said
    finally:
        stop.set()
        running.join()
    assert nothing_ran(connection, eve)
    with eve.connect(database) as evil:
        evil.execute("DROP SCHEMA azure_local_ai CASCADE")
    connection.execute("CREATE EXTENSION azure_local_ai")
    drain(table.connect, table.column, Options(workers=1), once=True)
    assert table.wrong() == []


def test_a_worker_that_leaves_refuses_the_column(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """So that it does those of other databases."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    connection.execute("INSERT INTO products VALUES (1, 'one')")
    replaced(twin, connection, eve)
    service = Service(
        {database: table.connect},
        Options(workers=1),
        once=True,
        tell=lambda _: None,
        complain=lambda _: None,
    )
    (refused,) = service.run(threading.Event()).refused
    assert refused.table == "products"
    assert re.search(WAYS[replaced].format(eve=eve.name), refused.reason)
    assert nothing_ran(connection, eve)


def test_the_extension_is_not_dropped_while_a_batch_is_embedded(
    twin: Instance, connection: Connection
) -> None:
    """So that nothing can come in its place between the look at it and the call."""
    table = products(twin, connection, Sync.NONE)
    with table.connect() as session, session.transaction():
        require(session)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute("SET lock_timeout = '100ms'; DROP EXTENSION azure_local_ai CASCADE")
    connection.execute("DROP EXTENSION azure_local_ai CASCADE")


@pytest.mark.parametrize("isolation", psycopg.IsolationLevel, ids=lambda level: level.name)
@ways
def test_a_trigger_calls_none_of_them(
    twin: Instance,
    connection: Connection,
    eve: Attacker,
    way: Callable[[Instance, Connection, Attacker], None],
    isolation: psycopg.IsolationLevel,
) -> None:
    """Also not in a transaction that still sees the extension. The row is written, and waits."""
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    connection.execute("INSERT INTO products VALUES (1, 'one'), (2, NULL)")
    said: list[str] = []
    with table.connect() as writer:
        writer.isolation_level = isolation
        writer.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        with writer.transaction():
            writer.execute("SELECT FROM public.products")
            way(twin, connection, eve)
            writer.execute("INSERT INTO public.products VALUES (3, 'three')")
            writer.execute("UPDATE public.products SET title = 'uno' WHERE id = 1")
        writer.execute("INSERT INTO public.products VALUES (4, 'four')")
    assert nothing_ran(connection, eve)
    without = connection.execute("SELECT id FROM products WHERE embedding IS NULL ORDER BY id").fetchall()
    if way is replaced:
        assert without == [(1,), (2,), (3,), (4,)]
        assert len(said) == 3
        assert all("is not the extension's" in one for one in said), said
    else:  # hers fit no better than the extension's
        assert without == [(2,)]


def test_nor_does_a_trigger_that_embeds_a_text_once_more(
    twin: Instance, connection: Connection, eve: Attacker
) -> None:
    """Review of the sixth attack's cures: the text is another one after the statement, and is verified."""
    text = "concat(left(title, 1), CASE current_setting('shop.category', true) WHEN 'x' THEN title END)"
    vectorized(twin, connection, mode=Sync.TRIGGER, text=text)
    connection.execute("INSERT INTO products VALUES (1, 'one')")
    replaced(twin, connection, eve)
    connection.execute(
        "UPDATE products SET title = 'other' WHERE id = 1 RETURNING set_config('shop.category', 'x', false)"
    )
    assert nothing_ran(connection, eve)
    assert connection.execute("SELECT count(*) FROM azpg.state_1").fetchone() == (0,), "it is not verified"


def test_a_rollback_of_its_drop_is_none(twin: Instance, connection: Connection) -> None:
    """PostgreSQL keeps the number of the transaction in the function's row."""
    vectorized(twin, connection, mode=Sync.TRIGGER)
    connection.execute("BEGIN; DROP EXTENSION azure_local_ai CASCADE; ROLLBACK")
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    connection.execute("INSERT INTO products VALUES (1, 'one')")
    connection.execute("COMMIT")
    assert connection.execute("SELECT count(embedding) FROM products").fetchone() == (1,)


@ways
@pytest.mark.parametrize("when", [None, Kind.COLUMN])
def test_a_generated_column_is_not_made_of_them(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    way: Callable[[Instance, Connection, Attacker], None],
    when: Kind | None,
    tmp_path: Path,
) -> None:
    """Whether they come before the plan is made, or while it is applied."""
    site = Site(twin, tmp_path, database)
    site.apply(site.spec(HEAD + "  init: [init.sql]\n"))
    spec = site.spec(HEAD + TABLE + "      sync: generated\n")
    refused(site, spec, lambda: way(twin, connection, eve), when, WAYS[way].format(eve=eve.name))
    assert nothing_ran(connection, eve)
    rate = rows_per_second(
        connection,
        relation=("public", "products"),
        text="title",
        prefix="",
        model=URI,
        path=["pg_catalog", "public", "pg_temp"],
    )
    assert rate is None
    assert nothing_ran(connection, eve)


@ways
@pytest.mark.parametrize("when", [None, Kind.SETTING, Kind.MODEL])
def test_settings_and_models_are_not_told_to_them(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    way: Callable[[Instance, Connection, Attacker], None],
    when: Kind | None,
    tmp_path: Path,
) -> None:
    before = connection.execute("SELECT azure_local_ai.get_setting('intra_op_parallelism')").fetchone()
    assert before is not None
    site = Site(twin, tmp_path, database)
    text = f"server: {{settings: {{intra_op_parallelism: {3 - int(before[0]) % 2}}}}}\n" + HEAD.replace(
        f"models: [{{uri: {URI}}}]", f"models: [{{uri: {URI}}}, {{uri: other:v1, path: all-minilm-l6-v2}}]"
    )
    spec = site.spec(text, init=None)
    assert [change.kind for change in site.plan(spec).changes] == [Kind.SETTING, Kind.MODEL]
    refused(site, spec, lambda: way(twin, connection, eve), when, WAYS[way].format(eve=eve.name))
    assert nothing_ran(connection, eve)


def refused(site: Site, spec: Spec, squat: Callable[[], None], when: Kind | None, said: str) -> None:
    """Applies a spec where the squatters come before the plan, or before the first change of a kind."""
    come: list[Change] = []

    def begin(change: Change) -> None:
        if change.kind is when and not come:
            come.append(change)
            squat()

    if when is None:
        squat()
        said = rf"{said}|schema \"azure_local_ai\" already exists"
    with pytest.raises(AzpgError, match=said):
        site.apply(spec, begin=begin)


@ways
def test_preflight_calls_none_of_them(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    way: Callable[[Instance, Connection, Attacker], None],
) -> None:
    way(twin, connection, eve)
    needs = Needs(models=(Model(URI, "all-minilm-l6-v2", None),))
    checks = {check.id: check for check in preflight(LocalTarget(twin), needs)}
    assert nothing_ran(connection, eve)
    assert checks[f"model.{URI}"].status.value == "pass", (
        "what others do in a database that nobody asks about"
    )
    needs = replace(needs, databases=(Database(database, ("azure_local_ai",)),))
    checks = {check.id: check for check in preflight(LocalTarget(twin), needs)}
    assert nothing_ran(connection, eve)
    found = checks[f"model.{URI}"]
    if way is not replaced:  # where there is no extension, models are not asked for
        assert found.status.value == "fail"
        assert re.search(WAYS[way].format(eve=eve.name), found.reason)
        assert found.action == f"Until then azpg does nothing in {database!r} that needs azure_local_ai."


def test_the_extension_does_not_come_into_a_schema_of_hers(
    twin: Instance, empty_database: str, tmp_path: Path
) -> None:
    """Its schema is the superuser's, who alone can let others create there."""
    site = Site(twin, tmp_path, empty_database)
    with attacker(twin, empty_database) as eve:
        with site.connect() as admin:
            admin.execute(
                sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(empty_database), eve.role)
            )
        squat(eve, empty_database)
        with pytest.raises(ApplyFailed, match='schema "azure_local_ai" already exists'):
            site.apply(site.spec(HEAD, init=None))
        with site.connect() as admin:
            assert nothing_ran(admin, eve)
            with eve.connect(empty_database) as evil:
                evil.execute("DROP SCHEMA azure_local_ai CASCADE")
            site.apply(site.spec(HEAD, init=None))
            assert admin.execute(
                "SELECT owner.rolsuper, owner.rolname = current_user FROM pg_namespace"
                " JOIN pg_roles AS owner ON owner.oid = nspowner WHERE nspname = 'azure_local_ai'"
            ).fetchone() == (True, False)
            for statement in (
                "ALTER SCHEMA azure_local_ai OWNER TO CURRENT_USER",
                "ALTER SCHEMA azure_local_ai RENAME TO elsewhere",
                "ALTER EXTENSION azure_local_ai DROP SCHEMA azure_local_ai",
                "CREATE FUNCTION azure_local_ai.one() RETURNS integer LANGUAGE sql RETURN 1",
            ):
                with pytest.raises(psycopg.Error):
                    admin.execute(statement)
            admin.execute(
                "GRANT CREATE ON SCHEMA azure_local_ai TO CURRENT_USER"
            )  # says that it grants nothing
            query = "SELECT has_schema_privilege('azure_local_ai', 'CREATE')"
            assert admin.execute(query).fetchone() == (False,)
            assert nothing_ran(admin, eve)
