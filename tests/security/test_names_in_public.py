"""Whoever may create in schema public puts nothing in the place of what `azpg apply` calls for its ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from azpg_runtime.postgres.instance import Instance
from tests.integration.provisioning import HEAD, TABLE, Site
from tests.security.roles import attacker

pytestmark = [pytest.mark.every_major, pytest.mark.vector]

# They fit better than PostgreSQL's own, and are found where `public` is in sight.
TRAPS = """
CREATE FUNCTION public.jsonb_build_object(text, bigint, text, smallint) RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN {payload} RETURN '{{}}'; END $$;
CREATE FUNCTION public.same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN {payload} RETURN $1 OPERATOR(pg_catalog.=) $2::oid; END $$;
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.same);
"""


def test_apply_calls_none_of_them(twin: Instance, database: str, tmp_path: Path) -> None:
    """When it has made a generated column, and reads how PostgreSQL prints the text of it."""
    site = Site(twin, tmp_path, database)
    spec = site.spec(HEAD + TABLE + "      sync: generated\n")
    with attacker(twin, database) as eve:
        with site.connect() as admin:
            admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(eve.role))
        with eve.connect(database) as evil:
            evil.execute(TRAPS.format(payload=eve.payload))
        site.apply(spec)
        assert not eve.is_admin()
        with eve.connect(database) as evil:
            evil.execute("DROP OPERATOR public.= (oid, regclass)")
    assert site.plan(spec).changes == ()
