"""Functions of extensions in a text: what they run nobody knows, and it runs with the rights of the table's owner."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg import sql

from azpg_provision import sync
from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed, PlanRefused
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import Table, vectorized
from tests.security.roles import Connection, attacker

pytestmark = pytest.mark.vector
BELOW = """
CREATE TABLE kinds (name text);
CREATE FUNCTION below(text) RETURNS text LANGUAGE sql {body}
"""
CALL = """
(SELECT string_agg(keyid, ' ')
 FROM public.connectby('kinds', 'name', 'name', $1, 0) AS t (keyid text, parent text, level int))
"""
# The extension, what is made, the text, and whether it is taken.
CASES = {
    "not immutable": (
        "tablefunc",
        BELOW.format(body=f"STABLE RETURN {CALL}"),
        "title || below(title)",
        False,
    ),
    "with a safe path": (
        "tablefunc",
        BELOW.format(body=f"STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT {CALL} $$"),
        "title || below(title)",
        True,
    ),
    "of one that runs nothing": ("unaccent", "SELECT", "public.unaccent(title)", True),
    "immutable": ("fuzzystrmatch", "SELECT", "title || public.soundex(title)", True),
}


@pytest.mark.parametrize("what", CASES)
def test_a_function_in_c_is_taken_only_if_it_runs_no_sql(
    twin: Instance, connection: Connection, database: str, what: str
) -> None:
    extension, made, text, taken = CASES[what]
    with twin.superuser(database) as superuser:
        superuser.execute(f"CREATE EXTENSION {extension} SCHEMA public")
    connection.execute(made)

    def apply() -> Table:
        return vectorized(twin, connection, text=text, mode=Sync.QUEUE)

    if taken:
        assert sync.installed(connection, apply().column)
        return
    said = r"the function public.connectby\(.*\) in C, of which azpg does not know whether it looks names up"
    with pytest.raises(ApplyFailed, match=said):
        apply()


OF_KEYS = {
    "reads it": "ltree_in(cstring)",
    "writes it": "ltree_out(ltree)",
    "sends it": "ltree_send(ltree)",
    "compares it": "ltree_eq(ltree,ltree)",
    "makes it a text": "said(ltree)",
}
CAST = """
CREATE FUNCTION said(ltree) RETURNS text LANGUAGE sql IMMUTABLE RETURN ltree2text($1);
CREATE CAST (ltree AS text) WITH FUNCTION said(ltree)
"""
NOTES = (
    HEAD
    + f"  tables:\n  - {{name: notes, embeddings: [{{column: embedding, source: [title], model: {URI}, sync: queue}}]}}\n"
)


@pytest.mark.parametrize("what", OF_KEYS)
def test_every_function_of_a_keys_type_is_judged(
    twin: Instance, connection: Connection, database: str, tmp_path: Path, what: str
) -> None:
    """By its owner, and by what it may run in C: keys are compared, and carried as texts."""
    function = OF_KEYS[what]
    with twin.superuser(database) as superuser:
        superuser.execute("CREATE EXTENSION ltree SCHEMA public; SET search_path = public;" + CAST)
    connection.execute("CREATE TABLE notes (id ltree PRIMARY KEY, title text)")
    connection.execute("INSERT INTO notes VALUES ('a.b', 'one')")
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(NOTES, init=None)
    site.apply(spec)
    assert site.plan(spec).changes == ()
    said = "the function " + re.escape(
        "public." + function.replace("ltree)", "public.ltree)").replace("(ltree,", "(public.ltree,")
    )
    with attacker(twin, database) as eve, twin.superuser(database) as superuser:
        superuser.execute("SET search_path = public")
        superuser.execute(sql.SQL(f"ALTER FUNCTION {function} OWNER TO {{}}").format(eve.role))
        with pytest.raises(PlanRefused, match=f"{said}.*, which belongs to the role '{eve.name}'"):
            site.plan(spec)
        superuser.execute(f"ALTER FUNCTION {function} OWNER TO CURRENT_USER")
        assert site.plan(spec).changes == ()
        if what == "makes it a text":
            return
        superuser.execute(f"ALTER FUNCTION {function} STABLE")
        assert site.plan(spec).changes == (), "it is of an extension that is known to run nothing"
        superuser.execute(f"ALTER EXTENSION ltree DROP FUNCTION {function}")
        with pytest.raises(PlanRefused, match=f"{said} in C, of which azpg does not know"):
            site.plan(spec)
