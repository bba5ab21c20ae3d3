"""Keys: two rows of a table are two to azpg, too, whatever an index of the table takes for the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from azpg_provision.errors import PlanRefused
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
NOTES = f"""\
  tables:
  - name: notes
    key: [name]
    embeddings: [{{column: embedding, expression: body, model: {URI}, sync: none}}]
"""
# The type of the key's column, its unique index, and whether azpg's own comparisons tell the same rows apart.
INDEXES = {
    "the type's own": ("text", "(name)", True),
    "of the type that it is kept as": ("varchar(20)", "(name)", True),
    "of the type that it is kept as, named": ("varchar(20)", "(name varchar_ops)", True),
    "another order of the same": ("text", "(name text_pattern_ops)", True),
    "another collation of the same": ("text", '(name COLLATE "C")', True),
    "an array": ("text[]", "(name)", True),
    "an enum": ("public.kind", "(name)", True),
    "a range": ("int4range", "(name)", True),
    "a domain": ("public.code", "(name)", True),
    "a row": ("public.pair", "(name)", True),
    "citext": ("public.citext", "(name)", True),
    "citext, as text": ("public.citext", "(name text_ops)", False),
    "a domain of citext, as text": ("public.loose", "(name text_ops)", False),
    "varchar, padded": ("varchar(20)", "(name bpchar_ops)", False),
    "a row, by its bytes": ("public.pair", "(name record_image_ops)", False),
    "a collation that folds": ("text COLLATE public.folding", "(name)", True),
    "a collation that folds, by bytes": ("text COLLATE public.folding", '(name COLLATE "C")', False),
    "by bytes, a collation that folds": ("text", "(name COLLATE public.folding)", False),
}


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    site.apply(site.spec(HEAD, init=None))
    yield site
    site.drop()


def give_citext(connection: Connection) -> None:
    row = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'citext'").fetchone()
    if row is None:
        pytest.skip("this PostgreSQL has no citext")
    connection.execute("CREATE EXTENSION citext SCHEMA public")


@pytest.mark.parametrize("what", INDEXES)
def test_a_key_is_compared_as_its_index_does(site: Site, what: str) -> None:
    type_, index, same = INDEXES[what]
    with site.twin.superuser(site.name) as connection:
        if "citext" in what:
            give_citext(connection)
        if "folds" in what:
            try:
                connection.execute(
                    "CREATE COLLATION public.folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
                )
            except psycopg.errors.FeatureNotSupported:
                pytest.skip("this PostgreSQL has no ICU, and so no collation that folds")
    with site.connect() as connection:
        connection.execute(
            f"""
            SET search_path = public;
            CREATE TYPE kind AS ENUM ('a'); CREATE DOMAIN code AS varchar(10);
            CREATE TYPE pair AS (a int, b text); {"CREATE DOMAIN loose AS citext;" if "domain of" in what else ""}
            CREATE TABLE notes (name {type_} NOT NULL, body text);
            CREATE UNIQUE INDEX ON notes {index}
            """
        )
    spec = site.spec(HEAD + NOTES, init=None)
    if same:
        site.apply(spec)
        assert site.plan(spec).changes == ()
        return
    with pytest.raises(PlanRefused, match=r"tells rows apart otherwise than = does .*: make one without"):
        site.plan(spec)


def test_another_index_of_the_same_columns_is_taken(site: Site) -> None:
    with site.twin.superuser(site.name) as connection:
        give_citext(connection)
    with site.connect() as connection:
        connection.execute(
            "SET search_path = public; CREATE TABLE notes (name citext NOT NULL, body text);"
            "CREATE UNIQUE INDEX a ON notes (name text_ops); CREATE UNIQUE INDEX b ON notes (name)"
        )
    site.apply(site.spec(HEAD + NOTES, init=None))


@pytest.mark.parametrize("named", [False, True])
def test_a_temporal_key_is_called_one(site: Site, named: bool) -> None:
    """PostgreSQL compares a part of it by &&, whatever its operator classes: another index is what helps."""
    text = HEAD + NOTES.replace("    key: [name]\n", "    key: [room, name]\n" if named else "")
    with site.connect() as connection:
        if connection.info.server_version < 180000:
            pytest.skip("WITHOUT OVERLAPS is PostgreSQL 18's")
        connection.execute(
            "SET search_path = public; CREATE TABLE notes (room int4range, name daterange, code int NOT NULL,"
            " body text, PRIMARY KEY (room, name WITHOUT OVERLAPS))"
        )
        why = r"the key \(room, name\) of public.notes is WITHOUT OVERLAPS, .* by && and not by =, .*: "
        do = r"CREATE UNIQUE INDEX ON public.notes \(room, name\), and write key: \[room, name\]"
        with pytest.raises(PlanRefused, match=f"^{why}{do}"):
            site.plan(site.spec(text, init=None))
        connection.execute("CREATE UNIQUE INDEX ON notes (code)")
        with pytest.raises(PlanRefused, match=rf"^{why}use \(code\) as key, or {do}"):
            site.plan(site.spec(text, init=None))
        connection.execute("CREATE UNIQUE INDEX ON notes (room, name)")
    site.apply(site.spec(HEAD + NOTES.replace("key: [name]", "key: [room, name]"), init=None))
