"""plan and apply on a real twin: what a spec asks is there, and a second apply does nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.apply import columns
from azpg_provision.errors import ApplyFailed, PlanRefused
from azpg_provision.plan.change import Change
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, PRODUCTS, TABLE, Site, kinds, wrong_rows
from tests.integration.test_dump_and_restore import as_a_script
from tests.integration.vectorized import FUNCTIONS_OF_ALL

pytestmark = pytest.mark.vector


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    yield site
    site.drop()


@pytest.mark.every_major
@pytest.mark.parametrize("sync", ["generated", "trigger", "queue", "none"])
def test_from_nothing_to_vectors_that_are_right(site: Site, sync: str) -> None:
    spec = site.spec(HEAD + TABLE + f"      sync: {sync}\n      index: {{method: hnsw}}\n")
    found = site.plan(spec)
    assert kinds(found) == [
        "create database",
        "create extension",
        "create extension",
        *(["create model"] if site.plan(spec).changes[3].kind == "model" else []),
        "create ledger",
        "create init",
        "create column",
        *(["create sync"] if sync in {"trigger", "queue"} else []),
        *([] if sync == "generated" else ["update rows"]),
        "create index",
    ]
    site.apply(spec, confirmed=found)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        assert connection.execute("SELECT count(embedding) FROM products").fetchone() == (22,)
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"
        ).fetchall()
        assert len(indexes) == 1
        if sync in {"generated", "trigger"}:
            connection.execute("UPDATE products SET title = 'quite another' WHERE id = 1")
            assert wrong_rows(connection) == 0


def test_a_plan_says_what_it_will_do_before_a_table_is_there(site: Site) -> None:
    found = site.plan(site.spec(HEAD + TABLE + "      sync: generated\n"))
    (column,) = [change for change in found.changes if change.kind == "column"]
    assert column.before is None
    assert column.after["key"] is None
    assert column.note == (
        "rewrites the table under an exclusive lock, not resumable; rows and time: unknown until the init files have run"
    )


@pytest.mark.every_major
@pytest.mark.parametrize(
    "before", ["ALTER TABLE products SET (autovacuum_enabled = off)", "ANALYZE products"]
)
def test_a_generated_column_of_a_table_with_rows(site: Site, before: str) -> None:
    site.apply(site.spec(HEAD + "  init: [init.sql]\n", PRODUCTS + before))
    found = site.plan(site.spec(HEAD + TABLE + "      sync: generated\n", None))
    (column,) = [change for change in found.changes if change.kind == "column"]
    assert re.fullmatch(
        r"rewrites about 23 rows under an exclusive lock, not resumable, about \d+ s at the \d+ rows/s of a sample",
        column.note,
    )


@pytest.mark.parametrize("sync", ["generated", "trigger", "queue"])
def test_a_function_beside_the_table_needs_no_schema(site: Site, sync: str) -> None:
    init = """
        CREATE SCHEMA shelf;
        CREATE FUNCTION shelf.loud(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
        """ + PRODUCTS.replace("products", "shelf.products")
    table = TABLE.replace("- name: products", "- name: products\n    schema: shelf")
    text = (
        HEAD
        + table.replace("source: [title, description]", "expression: loud(title)")
        + f"      sync: {sync}\n"
    )
    spec = site.spec(text, init)
    site.apply(spec)
    assert site.plan(spec).changes == ()


def test_a_generated_column_that_somebody_generates_otherwise(site: Site) -> None:
    spec = site.spec(HEAD + TABLE + "      sync: generated\n")
    site.apply(spec)
    with site.connect() as connection:
        statement = sql.SQL(
            "ALTER TABLE products ALTER embedding SET EXPRESSION AS "
            "(azure_local_ai.create_embeddings({}, upper(title))::vector)"
        )
        connection.execute(statement.format(URI))
        assert wrong_rows(connection) > 0
        assert kinds(site.plan(spec)) == ["replace column"]
        site.apply(spec, replace=True)
        assert wrong_rows(connection) == 0
    assert site.plan(spec).changes == ()


@pytest.mark.every_major
def test_the_second_apply_does_nothing(site: Site) -> None:
    spec = site.spec()
    site.apply(spec)
    begun: list[object] = []
    assert site.apply(spec, begin=begun.append) == []
    assert begun == []


def test_a_column_that_exists_is_taken_and_stays_its_owners(site: Site) -> None:
    existing = PRODUCTS + "ALTER TABLE products ADD COLUMN embedding vector(384);"
    site.apply(site.spec(HEAD + "  init: [init.sql]\n", existing))
    spec = site.spec(init=None)
    found = site.plan(spec)
    (column, *_) = found.changes
    assert (column.action, column.before, column.note) == (
        "update",
        {"type": "vector(384)"},
        "exists already and is taken as it is",
    )
    site.apply(spec, confirmed=found)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        assert connection.execute("SELECT count(*) FROM azpg.owned WHERE kind = 'column'").fetchone() == (0,)
    with pytest.raises(
        PlanRefused, match="azpg did not make it and leaves it alone: use another column, or drop it"
    ):
        site.plan(site.spec(HEAD + TABLE + "      sync: generated\n", None))


@pytest.mark.every_major
def test_another_text_makes_every_row_anew(site: Site) -> None:
    site.apply(site.spec())
    spec = site.spec(HEAD + TABLE + "      prefix: 'passage: '\n", None)
    found = site.plan(spec)
    assert kinds(found) == ["update column", "update sync", "update rows"]
    site.apply(spec, confirmed=found)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        text = "CASE WHEN coalesce(title, description) IS NOT NULL THEN 'passage: ' || concat_ws(' ', title, description) END"
        assert wrong_rows(connection, text=text) == 0


def test_what_has_to_be_made_anew_needs_a_word(site: Site) -> None:
    site.apply(site.spec())
    spec = site.spec(HEAD + TABLE + "      sync: generated\n", None)
    found = site.plan(spec)
    assert kinds(found) == ["replace column"]
    with pytest.raises(
        PlanRefused,
        match=r"drops public.products.embedding with the vectors that there are and makes it anew: repeat it with --allow-replace",
    ):
        site.apply(spec)
    site.apply(spec, replace=True)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'products'::regclass AND NOT tgisinternal"
        assert connection.execute(triggers).fetchone() == (0,)
    site.apply(site.spec(), replace=True)
    assert site.plan(site.spec()).changes == ()


def test_a_column_that_took_the_place_of_ours_stays(site: Site) -> None:
    site.apply(site.spec())
    with site.connect() as connection:
        connection.execute(
            "ALTER TABLE products DROP COLUMN embedding, ADD COLUMN embedding text DEFAULT 'mine'"
        )
    with pytest.raises(PlanRefused, match="azpg did not make it and leaves it alone"):
        site.plan(site.spec(init=None))


def test_another_index_in_the_place_of_ours_needs_a_word(site: Site) -> None:
    site.apply(site.spec(HEAD + TABLE + "      index: {method: hnsw}\n"))
    spec = site.spec(HEAD + TABLE + "      index: {method: hnsw, m: 8, ef_construction: 32}\n", None)
    assert kinds(site.plan(spec)) == ["replace index"]
    with pytest.raises(PlanRefused, match="--allow-replace"):
        site.apply(spec)
    site.apply(spec, replace=True)
    assert site.plan(spec).changes == ()


def test_an_index_of_somebody_else_by_our_name_stays(site: Site) -> None:
    site.apply(site.spec())
    with site.connect() as connection:
        connection.execute(
            "CREATE INDEX products_embedding_hnsw ON products USING hnsw (embedding vector_l2_ops)"
        )
    with pytest.raises(
        PlanRefused, match="another index by the name that azpg would give its own: rename that"
    ):
        site.plan(site.spec(HEAD + TABLE + "      index: {method: hnsw}\n", None))


@pytest.mark.parametrize("sync", ["trigger", "generated"])
def test_what_was_restored_from_a_dump_is_our_own_again(site: Site, tmp_path: Path, sync: str) -> None:
    """Although PostgreSQL has other numbers for it; what somebody else makes in its place is not."""
    text = HEAD + TABLE + f"      sync: {sync}\n      index: {{method: hnsw}}\n"
    site.apply(site.spec(text))
    there = Site(site.twin, tmp_path)
    try:
        with site.twin.connect(autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(there.name))
            )
        as_a_script(site.twin, site.name, there.name, tmp_path)
        with there.connect() as connection:
            assert {kind for kind, _ in ledger.owned(connection)} == {"init", "column", "index"}
        assert there.plan(there.spec(text, None)).changes == ()
        other = there.spec(text.replace("hnsw}", "hnsw, m: 8, ef_construction: 32}"), None)
        assert kinds(there.plan(other)) == ["replace index"]
        there.apply(other, replace=True)
        assert there.plan(other).changes == ()
        generated = there.spec(
            text.replace(f"sync: {sync}", "sync: generated" if sync == "trigger" else "sync: queue"), None
        )
        assert kinds(there.plan(generated))[0] == "replace column"
        with there.connect() as connection:
            connection.execute(
                "DROP TABLE products; CREATE TABLE products (id bigint PRIMARY KEY, title text, description text,"
                " embedding vector(384)); CREATE INDEX products_embedding_hnsw ON products USING hnsw (embedding vector_l2_ops)"
            )
            assert {kind for kind, _ in ledger.owned(connection)} == {"init"}
            there.apply(there.spec(HEAD + TABLE, None))
            assert {kind for kind, _ in ledger.owned(connection)} == {"init"}, "what was taken is not"
    finally:
        there.drop()


def test_an_init_file_runs_once(site: Site) -> None:
    site.apply(site.spec())
    found = site.plan(site.spec(init=PRODUCTS + "SELECT 1;"))
    assert found.changes == ()
    assert found.notes == (f"init.sql was changed after it had run in {site.name}; it is not run again.",)


def test_an_init_file_that_fails_leaves_nothing_and_runs_again(site: Site) -> None:
    with pytest.raises(
        ApplyFailed,
        match=r"create init init.sql in site_.*: division by zero. \d of \d changes are done and stay",
    ):
        site.apply(site.spec(init=PRODUCTS + "SELECT 1/0;"))
    site.apply(site.spec())
    assert site.plan(site.spec()).changes == ()


def test_an_init_file_and_the_note_that_it_ran_are_one_transaction(site: Site) -> None:
    with pytest.raises(ApplyFailed, match=r'relation "azpg.owned" does not exist'):
        site.apply(site.spec(init=PRODUCTS + "ALTER TABLE azpg.owned RENAME TO gone;"))
    with site.connect() as connection:
        assert connection.execute("SELECT to_regclass('products')").fetchone() == (None,)
    site.apply(site.spec())
    assert site.plan(site.spec()).changes == ()


def test_rows_that_fail_are_said_and_are_no_drift(site: Site) -> None:
    text = (HEAD + TABLE).replace("source: [title, description]", "expression: 'title || (1 / (id - 7))'")
    spec = site.spec(text + "      sync: none\n")
    said = site.apply(spec)
    assert said == ["public.products.embedding: 1 row failed; `azpg vectorize --failed` lists them"]
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        assert connection.execute("SELECT count(embedding) FROM products").fetchone() == (21,)


@pytest.mark.every_major
def test_grants(site: Site) -> None:
    role = site.name.replace("site", "role")
    grants = f"""\
  grants:
  - {{role: {role}, member_of: azure_local_ai_setting_manager}}
  - {{role: {role}, privileges: [select, insert], on: {{table: products}}}}
  - {{role: {role}, privileges: [create], on: {{schema: public}}}}
"""
    with pytest.raises(PlanRefused, match=rf"there is no role {role}: make it with CREATE ROLE"):
        site.plan(site.spec(HEAD + grants))
    spec = site.spec(HEAD + "  init: [init.sql]\n" + grants, PRODUCTS + f"CREATE ROLE {role};")
    try:
        site.apply(spec)
        assert site.plan(spec).changes == ()
        with site.connect() as connection:
            connection.execute(sql.SQL("REVOKE SELECT ON products FROM {}").format(sql.Identifier(role)))
            (change,) = site.plan(spec).changes
            assert change.name == f"select on public.products to {role}"
            gone = "there is no (table public.nix|schema nix) in the database .*: make it, or leave the grant out"
            for on in ("{table: nix}", "{schema: nix}"):
                right = "select" if "table" in on else "usage"
                grant = f"  grants: [{{role: {role}, privileges: [{right}], on: {on}}}]\n"
                with pytest.raises(PlanRefused, match=gone):
                    site.plan(site.spec(HEAD + "  init: [init.sql]\n" + grant, None))
            site.apply(spec)
            assert site.plan(spec).changes == ()
    finally:
        site.drop()
        with site.twin.superuser() as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.mark.every_major
def test_settings_are_set_and_kept(site: Site) -> None:
    spec = site.spec(
        HEAD.replace(
            "version: 1", "version: 1\nserver: {settings: {intra_op_parallelism: 1, spin_control: false}}"
        )
    )
    site.apply(spec)
    assert site.plan(spec).changes == ()
    with site.connect() as connection:
        connection.execute("SELECT azure_local_ai.set_setting('intra_op_parallelism', '2')")
    (change,) = site.plan(spec).changes
    assert (change.action, change.kind, change.before, change.after) == ("update", "setting", "2", "1")
    site.apply(spec)
    with site.connect() as connection:
        connection.execute("SELECT azure_local_ai.set_setting('intra_op_parallelism', '2')")


KEYS = (
    "  - name: keyed\n    key: [b, a]\n    embeddings: [{column: e, source: [title], model: " + URI + "}]\n"
)


@pytest.mark.every_major
def test_a_key_of_several_columns(site: Site) -> None:
    init = "CREATE TABLE keyed (a text, b uuid, title text, PRIMARY KEY (a, b)); INSERT INTO keyed VALUES ('x', gen_random_uuid(), 'y');"
    spec = site.spec(HEAD + "  init: [init.sql]\n  tables:\n" + KEYS, init)
    site.apply(spec)
    assert site.plan(spec).changes == ()


GONE = ["RENAME COLUMN embedding TO renamed", "DROP COLUMN embedding"]


@pytest.mark.parametrize("mode", ["trigger", "queue"])
@pytest.mark.parametrize("how", GONE)
def test_the_triggers_of_a_column_that_is_gone_go(site: Site, how: str, mode: str) -> None:
    text = HEAD + TABLE + f"      sync: {mode}\n"
    site.apply(site.spec(text))
    with site.connect() as connection:
        connection.execute(sql.SQL("ALTER TABLE products " + how))
        without = site.spec(text[: text.index("  tables:")], None)
        [change] = site.plan(without).changes
        assert (change.name, change.after) == ("public.products.embedding", "none")
        assert "the column is gone, and its triggers stop every writer" in change.note
        site.apply(without)
        assert site.plan(without).changes == ()
        connection.execute("UPDATE products SET title = 'new'")
        site.apply(site.spec(text, None))
        connection.execute(sql.SQL("ALTER TABLE products DROP COLUMN embedding"))
        other = site.spec(text.replace("column: embedding", "column: vectors"), None)
        site.apply(other)
        assert site.plan(other).changes == ()
        connection.execute("UPDATE products SET title = 'newer'")
        query = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace"
        its = 4 if mode == "queue" else 5
        assert connection.execute(query).fetchone() == (len(FUNCTIONS_OF_ALL) + its,)


@pytest.mark.parametrize("mode", ["trigger", "queue"])
@pytest.mark.parametrize("then", ["generated", "none"])
def test_a_column_that_is_made_anew_has_none_of_the_triggers_of_before(
    site: Site, mode: str, then: str
) -> None:
    site.apply(site.spec(HEAD + TABLE + f"      sync: {mode}\n"))
    with site.connect() as connection:
        connection.execute("ALTER TABLE products DROP COLUMN embedding")
        spec = site.spec(HEAD + TABLE + f"      sync: {then}\n", None)
        site.apply(spec)
        assert site.plan(spec).changes == ()
        query = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'products'::regclass AND NOT tgisinternal"
        assert connection.execute(query).fetchall() == []
        assert wrong_rows(connection) == 0


def test_a_key_of_another_type(site: Site) -> None:
    spec = site.spec()
    site.apply(spec)
    with site.connect() as connection:
        connection.execute("ALTER TABLE products ALTER id TYPE numeric")
        connection.execute("ALTER TABLE products DISABLE TRIGGER USER")
        connection.execute("INSERT INTO products VALUES (1.5, 'new', NULL)")
        connection.execute("ALTER TABLE products ENABLE TRIGGER USER")
    change = site.plan(spec).changes[0]
    assert (change.before["key"], change.after["key"]) == (["id bigint"], ["id numeric"])
    site.apply(spec)
    assert site.plan(spec).changes == ()


TABLES = {
    "CREATE TABLE products (id bigint, title text, description text)": "public.products has no primary key, which tells its rows apart: add a primary key",
    "CREATE TABLE products (id bigint NOT NULL UNIQUE, title text, description text)": r"has no primary key, which tells its rows apart: name the columns of a unique one as key: \(id\)",
    "CREATE VIEW products AS SELECT 1 AS id, '' AS title, '' AS description": "public.products is a view: vectorize the tables that it shows",
    "CREATE MATERIALIZED VIEW products AS SELECT 1 AS id": "public.products is a materialized view: vectorize the tables",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text) PARTITION BY RANGE (id)": "public.products is partitioned: vectorize a plain table",
    "CREATE TABLE p (id bigint PRIMARY KEY, title text, description text) PARTITION BY RANGE (id); CREATE TABLE products PARTITION OF p DEFAULT": "public.products is a partition: vectorize a plain table",
    "CREATE TABLE products (id bigint PRIMARY KEY, titel text, description text)": "public.products has no column title, of which embedding is made: did you mean titel",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text, embedding text)": r"public.products.embedding is text, and is to be vector\(384\); azpg did not make it and leaves it alone",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text, embedding vector(3))": r"public.products.embedding is vector\(3\), and is to be vector\(384\)",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text); CREATE TABLE heir () INHERITS (products)": "public.products has tables that inherit from it, whose rows are among its own .*: vectorize a table that nothing inherits from",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text); ALTER TABLE products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY": "public.products has row-level security that is forced on its owner, too, and would hide rows: ALTER TABLE public.products NO FORCE",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text GENERATED ALWAYS AS (title || '!') STORED)": "public.products.description is generated, which PostgreSQL does after what `sync: trigger` would do for embedding: use `sync: queue`, or write what it is generated of",
    "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text); CREATE TRIGGER zzzz BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()": "public.products has the trigger zzzz, which changes rows after azpg's, as its name comes later: rename it to one before zzz_azpg, or use `sync: queue`",
    "SELECT 1": "there is no table public.products in the database site_.*, and no init file that is still to run",
}  # fmt: skip


@pytest.mark.every_major
@pytest.mark.parametrize("init", TABLES)
def test_tables_that_cannot_be_vectorized(site: Site, init: str) -> None:
    site.apply(site.spec(HEAD + "  init: [init.sql]\n", init))
    with pytest.raises(PlanRefused, match=TABLES[init]):
        site.plan(site.spec(init=None))


@pytest.mark.every_major
def test_a_table_that_inherits(site: Site) -> None:
    """Statement triggers, as a queue's are, are not fired for what is written by way of the parent."""
    init = (
        PRODUCTS.replace("products", "things", 1)
        .replace(" PRIMARY KEY", "")
        .replace(";", "; CREATE TABLE products (PRIMARY KEY (id)) INHERITS (things);", 1)
    )
    site.apply(site.spec(HEAD + "  init: [init.sql]\n", init))
    refused = (
        r"public\.products inherits from another table, .* never reaches a queue: use `sync: trigger`, or"
    )
    with pytest.raises(PlanRefused, match=refused):
        site.plan(site.spec(HEAD + TABLE + "      sync: queue\n", init=None))
    site.apply(site.spec(init=None))
    with site.connect() as connection:
        connection.execute("UPDATE things SET title = 'by way of the parent' WHERE id < 5")
        connection.execute("DELETE FROM things WHERE id > 15")
        assert wrong_rows(connection) == 0
    assert site.plan(site.spec(init=None)).changes == ()


def test_an_init_file_that_makes_no_such_table(site: Site) -> None:
    with pytest.raises(
        ApplyFailed,
        match=r"create column public.products.embedding.*there is no table public.products after the init files have run",
    ):
        site.apply(site.spec(init="SELECT 1"))


def test_a_key_that_is_none(site: Site) -> None:
    site.apply(site.spec(HEAD + "  init: [init.sql]\n"))
    text = (HEAD + TABLE).replace("name: products\n", "name: products\n    key: [title]\n")
    with pytest.raises(PlanRefused, match=r"has no unique index on \(title\) without NULLs: use \(id\)"):
        site.plan(site.spec(text, None))


NO_TEXT = TABLE.replace("source: [title, description]", "expression: uper(title)")


@pytest.mark.parametrize("sync", ["generated", "trigger", "queue", "none"])
def test_a_text_that_no_row_can_have_is_found_before_anything_is_changed(site: Site, sync: str) -> None:
    spec = site.spec(HEAD + TABLE + f"      sync: {sync}\n")
    site.apply(spec)
    with pytest.raises(
        PlanRefused,
        match=r"public.products: the expression of embedding cannot be computed: function uper\(text\) does "
        r"not exist: correct it",
    ):
        site.plan(site.spec(HEAD + NO_TEXT + f"      sync: {sync}\n", None))
    with site.connect() as connection:  # names are looked up in the table's schema and public, as in triggers
        connection.execute("CREATE FUNCTION uper(text) RETURNS text IMMUTABLE RETURN upper($1)")
    assert kinds(site.plan(site.spec(HEAD + NO_TEXT + f"      sync: {sync}\n", None)))


def test_a_text_that_no_row_can_have_is_found_once_the_table_is_there(site: Site) -> None:
    with pytest.raises(
        ApplyFailed, match=r"create column .*the expression of embedding cannot be computed: function uper"
    ):
        site.apply(site.spec(HEAD + NO_TEXT))
    with site.connect() as connection:
        assert connection.execute("SELECT count(*) FROM azpg.columns").fetchone() == (0,)
        connection.execute("INSERT INTO products VALUES (30, 'no trigger', '')")


def test_a_text_that_a_row_cannot_have_stops_no_plan(site: Site) -> None:
    table = TABLE.replace("source: [title, description]", 'expression: "(1 / 0)::text"')
    site.apply(site.spec(HEAD + "  init: [init.sql]\n"))
    assert "create column" in kinds(site.plan(site.spec(HEAD + table, None)))


def test_dimensions_that_the_model_does_not_have(site: Site) -> None:
    site.apply(site.spec())
    with pytest.raises(PlanRefused, match=f"is to have 3 dimensions, and the model {URI} has 384: use that"):
        site.plan(site.spec(HEAD + TABLE + "      dimensions: 3\n", None))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("azure_local_ai]", "azure_local_ai, vectr]", "this server does not offer the extension vectr: did you mean vector"),
        ("azure_local_ai]", "azure_local_ai, postgis]", "does not have the extension postgis: leave it out, or use a server that has it; .*`azpg help extensions` says what each has"),
        ("azure_local_ai]", "azure_local_ai, {name: cube, version: '9'}]", "does not have the extension cube|has no version 9 of the extension cube"),
        ("[vector,", "[{name: vector, version: '9'},", "the server has no version 9 of the extension vector: use "),
    ],
)  # fmt: skip
def test_extensions_that_cannot_be_had(site: Site, old: str, new: str, said: str) -> None:
    with pytest.raises(PlanRefused, match=said):
        site.plan(site.spec(HEAD.replace(old, new)))


def test_diskann_is_on_azure_only(site: Site) -> None:
    with pytest.raises(
        PlanRefused, match="has no pg_diskann, which diskann needs and only Azure has: use hnsw"
    ):
        site.plan(site.spec(HEAD + TABLE + "      index: {method: diskann}\n"))


def test_every_reason_is_said_at_once(site: Site) -> None:
    with pytest.raises(PlanRefused, match=r"^2 reasons why this cannot be planned: \(1\) .* \(2\) "):
        site.plan(site.spec(HEAD.replace("azure_local_ai]", "azure_local_ai, vectr, postgis]")))


# What happens meanwhile


def test_a_server_that_has_changed_since_the_plan_was_made(site: Site) -> None:
    spec = site.spec()
    found = site.plan(spec)
    site.apply(site.spec(HEAD))
    with pytest.raises(
        ApplyFailed,
        match=r"has changed since the plan was made: create .*\. Nothing more is done: look at `azpg plan` and apply again",
    ):
        site.apply(spec, confirmed=found)
    with site.connect() as connection:
        assert connection.execute("SELECT to_regclass('products')").fetchone() == (None,)


def test_a_row_that_comes_before_the_trigger_is_embedded_too(site: Site) -> None:
    """Though no row waited when the plan was made, so that rows are no change of their own."""
    site.apply(site.spec(HEAD + TABLE + "      sync: none\n"))
    spec = site.spec(HEAD + TABLE + "      sync: trigger\n", None)
    assert kinds(site.plan(spec)) == ["update column", "update sync"]

    def begin(change: Change) -> None:
        if change.kind == "sync":
            with site.connect() as connection:
                connection.execute("INSERT INTO products VALUES (100, 'late', 'and unheard of')")

    site.apply(spec, begin=begin)
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        assert connection.execute("SELECT embedding IS NULL FROM products WHERE id = 100").fetchone() == (
            False,
        )


def test_a_lock_that_is_lost_ends_an_apply_before_its_next_change(site: Site) -> None:
    spec = site.spec()

    def begin(change: Change) -> None:
        if change.kind == "ledger":
            with site.twin.superuser() as connection:
                query = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
                assert connection.execute(query, [int.from_bytes(b"azpg", "big")]).fetchone() == (1,)

    with pytest.raises(
        ApplyFailed, match=r"the session that holds the lock on local .* has ended: run `azpg apply` again"
    ):
        site.apply(spec, begin=begin)
    site.apply(spec)
    assert site.plan(spec).changes == ()


MEANWHILE = {
    "column": ("ALTER TABLE products ADD COLUMN embedding vector(384)", "create column public.products.embedding in .*: public.products.embedding has been made by somebody else: run `azpg apply` again"),
    "sync": ("ALTER TABLE products DROP COLUMN embedding", "create sync .*: public.products.embedding is not as it was planned any more: run `azpg apply` again"),
    "rows": ("DROP TABLE products", "there is no table public.products after the init files have run"),
    "index": ("CREATE INDEX products_embedding_hnsw ON products (id)", "products_embedding_hnsw"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEANWHILE)
def test_what_somebody_does_in_the_middle_is_said_and_survived(site: Site, kind: str) -> None:
    statement, said = MEANWHILE[kind]

    def begin(change: Change) -> None:
        if change.kind == kind:
            with site.connect() as connection:
                connection.execute(statement)

    with pytest.raises(ApplyFailed, match=said) as caught:
        site.apply(site.spec(HEAD + TABLE + "      index: {method: hnsw}\n"), begin=begin)
    assert re.search(
        r"\d of \d+ changes are done and stay; `azpg apply` goes on from there\.$", str(caught.value)
    )


def test_a_column_that_is_to_be_taken_and_is_gone(site: Site) -> None:
    site.apply(
        site.spec(
            HEAD + "  init: [init.sql]\n", PRODUCTS + "ALTER TABLE products ADD COLUMN embedding vector(384);"
        )
    )

    def begin(change: Change) -> None:
        with site.connect() as connection:
            connection.execute("ALTER TABLE products DROP COLUMN embedding")

    with pytest.raises(ApplyFailed, match=r"public.products.embedding is gone: run `azpg apply` again"):
        site.apply(site.spec(init=None), begin=begin)


def test_a_model_that_is_unregistered_in_the_middle(site: Site) -> None:
    def begin(change: Change) -> None:
        if change.kind == "column":
            with site.connect() as connection:
                connection.execute("SELECT azure_local_ai.model_unregister(%s)", [URI])

    with pytest.raises(ApplyFailed, match=f"the model {URI} is not registered: run `azpg apply` again"):
        site.apply(site.spec(), begin=begin)
    site.apply(site.spec())
    assert site.plan(site.spec()).changes == ()


def test_dimensions_are_checked_once_the_model_is_known(site: Site) -> None:
    """A plan for a server where nothing knows the model yet; it is unregistered so that nothing does."""
    spec = site.spec(HEAD + TABLE + "      dimensions: 3\n")
    found = site.plan(spec)  # no database has azure_local_ai, so that no model is known
    with pytest.raises(
        ApplyFailed, match=f"embedding is to have 3 dimensions, and the model {URI} has 384: use that"
    ):
        site.apply(spec, confirmed=found)


def test_what_takes_the_place_of_ours_before_it_is_replaced_stays(site: Site) -> None:
    site.apply(site.spec(HEAD + TABLE + "      index: {method: hnsw}\n"))
    steps = {
        "column": "ALTER TABLE products DROP COLUMN embedding, ADD COLUMN embedding text",
        "index": "DROP INDEX products_embedding_hnsw; CREATE INDEX products_embedding_hnsw ON products (title)",
    }
    specs = {
        "index": site.spec(HEAD + TABLE + "      index: {method: hnsw, m: 8, ef_construction: 32}\n", None),
        "column": site.spec(HEAD + TABLE + "      sync: generated\n", None),
    }
    for kind, spec in specs.items():
        begin = partial(run, site, steps[kind])
        with pytest.raises(ApplyFailed, match="is not azpg's own, and is left alone"):
            site.apply(spec, replace=True, begin=begin)


def run(site: Site, statement: str, _: Change) -> None:
    with site.connect() as connection:
        connection.execute(statement)


def test_a_table_that_is_in_use_all_the_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.apply(site.spec(HEAD + "  init: [init.sql]\n"))
    monkeypatch.setattr(columns, "_ATTEMPTS", 1)
    with site.twin.connect(site.name) as reader:
        reader.execute("SELECT count(*) FROM products")
        with pytest.raises(
            ApplyFailed,
            match=r"public.products is in use by others all the time: look for long transactions in pg_stat_activity",
        ):
            site.apply(site.spec(init=None))
    site.apply(site.spec(init=None))
    assert site.plan(site.spec(init=None)).changes == ()


@pytest.mark.parametrize("other", ["      sync: queue\n", "    key: [slug]\n"], ids=["sync", "key"])
def test_nobody_waits_behind_a_change_that_waits_for_a_writer(
    site: Site, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    init = PRODUCTS + "ALTER TABLE products ADD slug uuid NOT NULL UNIQUE DEFAULT gen_random_uuid();"
    site.apply(site.spec(init=init))
    later = HEAD + (
        TABLE + other if "sync" in other else TABLE.replace("    embeddings", other + "    embeddings")
    )
    monkeypatch.setattr(columns, "_ATTEMPTS", 1)
    with site.twin.connect(site.name) as writer:
        writer.execute("SET idle_in_transaction_session_timeout = '30s'")  # else a failure would be a hang
        writer.execute("UPDATE products SET title = 'in a long transaction' WHERE id = 1")
        with pytest.raises(ApplyFailed, match="is in use by others all the time"):
            site.apply(site.spec(later, init))
    site.apply(site.spec(later, init))
    assert site.plan(site.spec(later, init)).changes == ()
    with site.connect() as connection:
        if "sync" not in other:
            assert wrong_rows(connection) == 0


def test_a_key_that_changes_between_two_runs(site: Site) -> None:
    """What the first has left, in the terms of its key, is no text of the second's."""
    init = PRODUCTS + "ALTER TABLE products ADD slug uuid NOT NULL UNIQUE DEFAULT gen_random_uuid();"
    site.apply(site.spec(init=init))
    with site.connect() as connection:
        connection.execute("UPDATE azpg.columns SET position = ARRAY['7']")
        connection.execute(
            "INSERT INTO azpg.claims (column_id, low, high, worker, expires) "
            "SELECT id, NULL, ARRAY['7'], gen_random_uuid(), now() FROM azpg.columns"
        )
        later = site.spec(HEAD + TABLE.replace("    embeddings", "    key: [slug]\n    embeddings"), init)
        site.apply(later)
        assert site.plan(later).changes == ()
        assert wrong_rows(connection) == 0


@pytest.mark.parametrize("other", ["trigger", "none"])
def test_what_waits_in_a_queue_that_is_given_up_is_done_and_gone(site: Site, other: str) -> None:
    site.apply(site.spec(HEAD + TABLE + "      sync: queue\n"))
    with site.connect() as connection:
        connection.execute("UPDATE products SET title = 'another ' || id")
        site.apply(site.spec(HEAD + TABLE + f"      sync: {other}\n"))
        assert connection.execute("SELECT count(*) FROM azpg.queue_1").fetchone() == (0,)
        assert wrong_rows(connection) == 0


KEEPS = """
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON products FOR EACH ROW WHEN (OLD.id = 7) EXECUTE FUNCTION keep();
"""
NOT_WRITTEN = (
    r"public\.products\.embedding in \w+: 1 row could not be written: others hold them locked, or a trigger of the "
    r"table keeps them as they are\. \d of \d changes? (is|are) done and stay"
)


def test_a_row_that_a_trigger_keeps_as_it_is(site: Site) -> None:
    site.apply(site.spec(HEAD + "  init: [init.sql]\n", PRODUCTS + KEEPS))
    with pytest.raises(ApplyFailed, match=NOT_WRITTEN):
        site.apply(site.spec(init=None))
    with site.connect() as connection:
        connection.execute("DROP TRIGGER keep ON products")
    site.apply(site.spec(init=None))
    with site.connect() as connection:
        assert wrong_rows(connection) == 0


def test_a_row_that_somebody_holds_all_the_time(site: Site) -> None:
    spec = site.spec(HEAD + TABLE + "      sync: none\n")
    site.apply(spec)
    with site.twin.connect(site.name) as holder:
        with site.connect() as connection:
            connection.execute("UPDATE products SET title = 'another'")
        holder.execute("SELECT FROM products WHERE id = 7 FOR UPDATE")
        with pytest.raises(ApplyFailed, match=NOT_WRITTEN):
            site.apply(spec)
    site.apply(spec)
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
