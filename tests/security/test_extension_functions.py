"""Functions of extensions in a text: what they run nobody knows, and it runs with the rights of the table's owner."""

from __future__ import annotations

import pytest

from azpg_provision import sync
from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import Table, vectorized
from tests.security.roles import Connection

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
