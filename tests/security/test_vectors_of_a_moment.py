"""Seventh attack: vectors of texts that were there for a moment only, where azpg takes a text for one of its row alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed
from azpg_provision.vectorize import drain
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import vectorized
from tests.security.roles import Attacker, attacker
from tests.security.test_poisoned_vectors import waiting

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


# Functions that PostgreSQL calls IMMUTABLE, and which read a setting of the writer's: the text, the setting, the two
# values, the first of which is there when the row is embedded, and the second when it is noted.
SETTINGS = {
    "abbreviations of zones": (
        "concat(title, ' at ', (DATE '2026-01-01'::timestamp AT TIME ZONE zone)::text)",
        "timezone_abbreviations",
        ("Australia", "Default"),
    ),
    "quotes": ("format('%I of %s', title, zone)", "quote_all_identifiers", ("on", "off")),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_an_immutable_function_that_reads_a_setting(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str
) -> None:
    """She may insert titles and zones, and no vectors."""
    text, setting, (first, last) = SETTINGS[what]
    table = vectorized(
        twin,
        connection,
        create="CREATE TABLE products (id bigint PRIMARY KEY, title text, zone text, embedding vector(384))",
        text=text,
        mode=Sync.TRIGGER,
    )
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT (id, title, zone), UPDATE (title) ON products TO {}").format(eve.role)
    )
    with eve.connect(database) as writer:
        writer.execute(sql.SQL("SET {} = {}").format(sql.Identifier(setting), sql.Literal(first)))
        writer.execute(
            "INSERT INTO public.products VALUES (1, 'meeting', 'EST') RETURNING set_config(%s, %s, false)",
            [setting, last],
        )
    assert not (table.wrong() and waiting(table) == 0), "a vector that is not the text's is no drift"


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_trigger_that_was_there_for_a_moment_only(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """She may hang triggers there, and insert ids and titles; DROP FUNCTION … CASCADE takes her trigger away again."""
    table = vectorized(twin, connection, mode=mode)
    table.execute("INSERT INTO products VALUES (1, 'weapons and explosives')")
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    connection.execute(
        sql.SQL(
            "CREATE SCHEMA m AUTHORIZATION CURRENT_USER; GRANT USAGE, CREATE ON SCHEMA m TO {0};"
            "GRANT SELECT, INSERT (id, title), TRIGGER ON products TO {0}"
        ).format(eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION m.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " NEW.embedding := (SELECT embedding FROM public.products WHERE id = 1); RETURN NEW; END $$;"
            "CREATE TRIGGER zzzz BEFORE INSERT ON public.products FOR EACH ROW EXECUTE FUNCTION m.t();"
            "INSERT INTO public.products (id, title) VALUES (2, 'a rain jacket');"
            "DROP FUNCTION m.t() CASCADE"
        )
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    assert not (table.wrong() and waiting(table) == 0), "a vector that is not the text's is no drift"


# What PostgreSQL calls IMMUTABLE, and prints as a setting of the writer's says.
PRINTED = {
    "intervals": "title || span::text",
    "numbers": "title || price::text",
    "bytes": "title || data::text",
}


@pytest.mark.parametrize("what", PRINTED)
def test_a_generated_column_of_what_a_setting_prints(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, what: str
) -> None:
    """The formats that triggers fix are the writer's there, and no drift says so."""
    connection.execute(
        "CREATE TABLE products (id bigint PRIMARY KEY, title text, span interval, price float8, data bytea)"
    )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    embeddings:\n"
        f'    - {{column: embedding, expression: "{PRINTED[what]}", model: {URI}, sync: generated}}\n',
        init=None,
    )
    with pytest.raises(ApplyFailed, match="which look as the session of each writer says"):
        site.apply(spec)
