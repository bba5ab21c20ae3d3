"""Nothing of anybody's is put in the place of what `azpg apply` and `azpg vectorize` call for their ledger."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.vectorize import claims
from azpg_runtime.postgres.instance import Instance
from tests.integration.provisioning import HEAD, TABLE, Site
from tests.integration.vectorized import vectorized
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
    site.apply(site.spec(HEAD + "  init: [init.sql]\n"))
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


# Every operator of PostgreSQL's between types of its own, by the same name and for the same types; and functions
# and relations by the names of those that the claims need. Whatever is called raises.
SQUATTERS = """
CREATE SCHEMA squat;
DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT oid, oprname, oprleft::regtype AS lefts, oprright::regtype AS rights, oprresult::regtype AS result
        FROM pg_operator
        WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
          AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '||')
          AND NOT EXISTS (SELECT FROM pg_type WHERE oid IN (oprleft, oprright, oprresult) AND typtype = 'p')
    LOOP
        EXECUTE format('CREATE FUNCTION squat.o%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                       one.oid, one.lefts, one.rights, one.result, 'BEGIN RAISE EXCEPTION ''squatted''; END');
        EXECUTE format('CREATE OPERATOR squat.%s (FUNCTION = squat.o%s, LEFTARG = %s, RIGHTARG = %s)',
                       one.oprname, one.oid, one.lefts, one.rights);
    END LOOP;
    FOR one IN
        SELECT proname, pg_get_function_arguments(oid) AS arguments, prorettype::regtype AS result
        FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND NOT proretset AND provariadic = 0
          AND proname IN ('clock_timestamp', 'now', 'make_interval', 'power', 'left', 'current_database',
                          'pg_advisory_lock_shared', 'pg_backend_pid')
    LOOP
        EXECUTE format('CREATE FUNCTION squat.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', one.proname,
                       one.arguments, one.result, 'BEGIN RAISE EXCEPTION ''squatted''; END');
    END LOOP;
    FOR one IN SELECT unnest(ARRAY['pg_locks', 'pg_stat_activity', 'pg_database']) AS name LOOP
        EXECUTE format('CREATE TABLE squat.%I (nothing integer)', one.name);
    END LOOP;
END $do$;
"""


def test_claims_call_nothing_but_postgresqls_own(twin: Instance, connection: psycopg.Connection[Any]) -> None:
    """However the names of the session are looked up, which is the person's own setting."""
    table = vectorized(twin, connection)
    connection.execute("INSERT INTO products SELECT n, 'text ' || n FROM generate_series(1, 30) AS n")
    connection.execute(SQUATTERS)
    column = table.column
    with table.connect() as session, table.connect() as other:
        for one in (session, other):
            one.execute("SET search_path = squat, public, pg_catalog")
        with pytest.raises(psycopg.errors.RaiseException, match="squatted"):
            session.execute("SELECT 1 + 1")
        worker = claims.attend(session)
        goal = claims.goal(session, column)
        claim = claims.take(session, column, worker, goal=goal, rows=10, lease=5.0)
        assert isinstance(claim, claims.Claim)
        assert claim.high == ["10"]
        assert claims.renew(session, column, claim, 5.0)
        with session.transaction():
            assert claims.hold(session, column, claim)
        assert claims.count(session, column, claim, 100) == 10
        assert len(claims.holders(other, column, [uuid.uuid4()])) == 1
        second = claims.attend(other)
        last = claims.take(other, column, second, goal=goal, rows=100, lease=5.0)
        assert isinstance(last, claims.Claim)
        assert (last.low, last.high) == (["10"], ["30"])
        assert claims.take(other, column, second, goal=goal, rows=10, lease=5.0) is claims.Nothing.BUSY
        claims.advance(other, column, last, ["30"], 5.0, left=None)
        claims.advance(session, column, claim, ["5"], 5.0, left=None)
        claims.release(session, column, claim)
        taken = claims.take(other, column, second, goal=goal, rows=10, lease=5.0)
        assert isinstance(taken, claims.Claim)
        assert (taken.low, taken.high, taken.attempts) == (["5"], ["10"], 2)
        claims.advance(other, column, taken, ["10"], 5.0, left=None)
        assert claims.end_of(session, column, ["10"], None, 10) == ["20"]
        over = claims.take(session, column, worker, goal=goal, rows=10, lease=5.0)
        assert over is claims.Nothing.OVER
