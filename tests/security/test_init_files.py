"""An init file calls nothing that less trusted roles have put where its names are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from azpg_provision.apply.apply import Permission, apply
from azpg_provision.apply.reporter import Silent
from azpg_provision.errors import ApplyFailed, PlanRefused
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.plan import Plan
from azpg_provision.plan.planning import plan
from azpg_provision.spec.model import Spec
from azpg_provision.spec.secret import Secret
from azpg_provision.target.dsn import DsnTarget
from azpg_runtime.postgres.instance import Instance
from tests.command_line import machine, run
from tests.integration.provisioning import Site, kinds
from tests.security.roles import Attacker, attacker
from tests.support.plain_server import plain_server

pytestmark = [pytest.mark.every_major]

SPEC = "version: 1\ndatabases:\n- name: NAME\n  init: [init.sql]\n"
SEED = """
CREATE TABLE public.products (id bigint PRIMARY KEY, title text);
INSERT INTO public.products SELECT n, 'title ' || n FROM generate_series(1, 3) AS n;
"""
# It fits better than PostgreSQL's own, which takes any type.
TRAP = """
CREATE FUNCTION public.cat(text, integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN {payload} RETURN $1 || $2::text; END $$;
CREATE OPERATOR public.|| (FUNCTION = public.cat, LEFTARG = text, RIGHTARG = integer);
"""
GRANT, REVOKE = "GRANT CREATE ON SCHEMA public TO {}", "REVOKE CREATE ON SCHEMA public FROM {}"


@pytest.fixture
def eve(twin: Instance, empty_database: str) -> Iterator[Attacker]:
    with attacker(twin, empty_database) as one:
        yield one


@pytest.fixture
def site(twin: Instance, empty_database: str, tmp_path: Path) -> Site:
    return Site(twin, tmp_path, empty_database)


def as_admin(site: Site, statement: str, *names: sql.Composable) -> None:
    with site.connect() as admin:
        admin.execute(sql.SQL(statement).format(*names))


def trap(site: Site, eve: Attacker) -> None:
    with eve.connect(site.name) as evil:
        evil.execute(TRAP.format(payload=eve.payload))


@pytest.mark.parametrize("role", ["a role", "everybody"])
def test_where_others_may_create_is_said(site: Site, eve: Attacker, role: str) -> None:
    """With what helps: the right is taken back, and what was made by it is then said, too."""
    grantee: sql.Composable = eve.role
    name, who = eve.name, f"the role {eve.name!r}"
    if role == "everybody":
        grantee, name, who = sql.SQL("PUBLIC"), "PUBLIC", "everybody"
    as_admin(site, GRANT, grantee)
    trap(site, eve)
    spec = site.spec(SPEC, SEED)
    with pytest.raises(PlanRefused) as caught:
        site.plan(spec)
    first, second = caught.value.reasons
    assert first.startswith(f"init.sql looks names up in the schema public, in which {who} may create")
    assert f". REVOKE CREATE ON SCHEMA public FROM {name}, or begin " in first
    such = "public, where 2 functions, operators and types, such as operator public.||(text,integer),"
    assert f"{such} belong to the role {eve.name!r}" in second
    as_admin(site, REVOKE, grantee)
    with pytest.raises(PlanRefused) as left:
        site.plan(spec)
    assert left.value.reasons == (second,)
    with eve.connect(site.name) as evil:
        evil.execute("DROP OPERATOR public.|| (text, integer)")
    with pytest.raises(
        PlanRefused, match=r"public, where public.cat\(text,integer\) belongs to the role .*: drop it, or"
    ):
        site.plan(spec)
    with eve.connect(site.name) as evil:
        evil.execute("DROP FUNCTION public.cat(text, integer)")
    site.apply(spec)
    assert not eve.is_admin()


def test_what_was_granted_after_the_plan_is_seen(site: Site, eve: Attacker) -> None:
    """In the transaction of the file itself."""
    spec = site.spec(SPEC, SEED)

    def begin(change: object) -> None:
        if "init.sql" in str(change):
            as_admin(site, GRANT, eve.role)
            trap(site, eve)

    with pytest.raises(
        ApplyFailed, match=f"in which the role '{eve.name}' may create.* 1 of 2 changes are done"
    ):
        site.apply(spec, begin=begin)
    assert not eve.is_admin()
    with site.connect() as admin:
        assert admin.execute("SELECT to_regclass('public.products') IS NULL").fetchone() == (True,)


CLOSES = "SET search_path = pg_catalog, pg_temp; REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
TWO = SPEC.replace("[init.sql]", "[init.sql, more.sql]")


def test_a_file_is_judged_when_its_turn_comes(site: Site) -> None:
    """The first one may put right what the second one needs; plan says so, and does not refuse it for that."""
    as_admin(site, GRANT, sql.SQL("PUBLIC"))
    site.file("more.sql", "CREATE TABLE more (id integer)")
    spec = site.spec(TWO, CLOSES)
    planned = site.plan(spec)
    assert kinds(planned) == ["create ledger", "create init", "create init"]
    (note,) = planned.notes
    assert note.startswith("more.sql looks names up in the schema public, in which everybody may create")
    assert "when the turn of the file comes, after init.sql, and ends before it if it is still so." in note
    site.apply(spec)
    with site.connect() as admin:
        assert admin.execute("SELECT to_regclass('public.more') IS NULL").fetchone() == (False,)


def test_a_file_before_which_nothing_was_put_right_is_not_run(site: Site) -> None:
    as_admin(site, GRANT, sql.SQL("PUBLIC"))
    site.file("more.sql", "CREATE TABLE more (id integer)")
    spec = site.spec(TWO, "SET search_path = pg_catalog, pg_temp; CREATE TABLE public.first (id integer)")
    with pytest.raises(ApplyFailed, match=r"more.sql looks names up in the schema public.* 2 of 3 changes"):
        site.apply(spec)
    with site.connect() as admin:
        query = "SELECT to_regclass('public.first') IS NULL, to_regclass('public.more') IS NULL"
        assert admin.execute(query).fetchone() == (False, True)
    with pytest.raises(PlanRefused, match=r"^more.sql looks names up in the schema public"):
        site.plan(spec)


def test_a_file_that_could_not_be_run_is_drift(site: Site) -> None:
    """What the server has is known: the file has not run. Only plan, which is what would be done, fails for it."""
    as_admin(site, GRANT, sql.SQL("PUBLIC"))
    site.file("init.sql", SEED)
    site.file("azpg.yaml", SPEC.replace("NAME", site.name))
    where = ("azpg.yaml", "--dsn", site.twin.dsn(site.name))
    for command, status, last in (
        ("drift", 3, "has drifted from azpg.yaml: 2 changes."),
        ("plan", 1, "refused."),
    ):
        done = run(command, *where, status=status, cwd=site.folder)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert ["refused", "init", site.name, "init.sql"] in lines
        assert done.stdout.endswith(f"{last}\n")
        assert done.stderr.startswith(
            "azpg: init.sql looks names up in the schema public, in which everybody"
        )
        found = machine(run(command, *where, "--json", status=status, cwd=site.folder), command)
        assert [change["kind"] for change in found["changes"]] == ["ledger", "init"]
        assert [(one["kind"], one["name"]) for one in found["refused"]] == [("init", "init.sql")]


@pytest.fixture
def eves(twin: Instance, site: Site, eve: Attacker) -> Iterator[Site]:
    """A database that is hers, and with it schema public."""
    owner = sql.SQL("ALTER DATABASE {} OWNER TO {}")
    database, admin = sql.Identifier(site.name), sql.Identifier(twin.description.admin)
    with twin.superuser() as superuser:
        superuser.execute(owner.format(database, eve.role))
    yield site
    with twin.superuser() as superuser:
        superuser.execute(owner.format(database, admin))


def test_the_databases_owner_may_create_in_public(eves: Site, eve: Attacker) -> None:
    site = eves
    spec = site.spec(SPEC, SEED)
    trap(site, eve)
    with pytest.raises(PlanRefused, match=f"in which the role '{eve.name}' may create, to which it belongs"):
        site.plan(spec)
    assert not eve.is_admin()
    with eve.connect(site.name) as evil:
        evil.execute(
            sql.SQL(
                "GRANT CREATE ON DATABASE {} TO {admin}; GRANT CREATE ON SCHEMA public TO {admin}"
            ).format(sql.Identifier(site.name), admin=sql.Identifier(site.twin.description.admin))
        )
    # What is named with its schema can be made there all the same.
    safe = site.spec(SPEC, "SET search_path = pg_catalog, pg_temp;" + SEED)
    assert kinds(site.plan(safe)) == ["create ledger", "create init"]
    site.apply(safe)
    assert not eve.is_admin()
    # Once the schema is the admin's, her functions are what is left.
    as_admin(site, "GRANT {} TO CURRENT_USER; ALTER SCHEMA public OWNER TO CURRENT_USER", eve.role)
    site.file("more.sql", SEED)
    with pytest.raises(
        PlanRefused, match=r"^more.sql looks names up in the schema public, where 2 functions"
    ):
        site.plan(site.spec(SPEC.replace("init.sql", "init.sql, more.sql"), None))


@pytest.mark.parametrize("path", ["shop, pg_temp", '"$user"', "public"])
def test_a_path_of_the_files_own_is_looked_at(site: Site, eve: Attacker, path: str) -> None:
    shop = {"shop, pg_temp": "shop", '"$user"': site.twin.description.admin, "public": "public"}[path]
    if shop != "public":
        as_admin(site, "CREATE SCHEMA {}", sql.Identifier(shop))
    as_admin(site, "GRANT CREATE ON SCHEMA {} TO {}", sql.Identifier(shop), eve.role)
    spec = site.spec(SPEC, f"SET client_min_messages = warning; SET LOCAL search_path TO {path};" + SEED)
    with pytest.raises(PlanRefused, match=f"init.sql looks names up in the schema {shop}, in which"):
        site.plan(spec)


def test_a_dump_looks_nothing_up(site: Site, eve: Attacker) -> None:
    """pg_dump's own first statements."""
    as_admin(site, GRANT, eve.role)
    trap(site, eve)
    head = "SET lock_timeout = 0; SELECT pg_catalog.set_config('search_path', '', false);"
    site.apply(site.spec(SPEC, head + SEED))
    assert not eve.is_admin()


def test_admins_may_create(site: Site, eve: Attacker) -> None:
    """They could do all that this one can; and what an extension brings is the server's own."""
    as_admin(site, "GRANT azure_pg_admin TO {}; GRANT CREATE ON SCHEMA public TO {}", eve.role, eve.role)
    with eve.connect(site.name) as other:
        other.execute("CREATE FUNCTION public.norm(text) RETURNS text LANGUAGE sql RETURN lower($1)")
    site.apply(site.spec(SPEC, "CREATE TABLE t AS SELECT norm('X') AS x"))


def test_an_ordinary_role_trusts_the_servers_admins(twin: Instance, site: Site, eve: Attacker) -> None:
    """As docs/provisioning.md has it: the database is an admin's, and so its schema public. Other roles are none."""
    as_admin(site, "GRANT CREATE ON DATABASE {} TO {}", sql.Identifier(site.name), eve.role)
    target = DsnTarget(Secret(dsn(eve, site)))
    spec = site.spec(
        SPEC, "SET search_path = shop, pg_temp; CREATE SCHEMA shop; CREATE TABLE shop.t (id integer)"
    )
    do(target, spec)
    with attacker(twin, site.name) as other:
        as_admin(site, GRANT, other.role)
        text = SPEC.replace("init.sql", "init.sql, more.sql")
        site.file("more.sql", "CREATE TABLE shop.more (id integer)")
        with pytest.raises(PlanRefused, match=f"in which the role '{other.name}' may create"):
            plan(site.spec(text, None), inspect(target, site.spec(text, None)))
        as_admin(site, REVOKE, other.role)
        do(target, site.spec(text, None))


def test_on_a_plain_server(twin: Instance, tmp_path: Path) -> None:
    """Where nobody is an admin but superusers, whatever is called azure_pg_admin."""
    site = Site(twin, tmp_path, "shop")
    with plain_server(twin) as plain:
        with plain.connect() as superuser:
            superuser.execute("CREATE ROLE app LOGIN; CREATE ROLE mallory LOGIN CREATEROLE")
            superuser.execute("CREATE DATABASE shop OWNER app")
        with plain.connect("mallory", "shop") as evil:
            evil.execute(
                "CREATE ROLE azure_pg_admin; GRANT azure_pg_admin TO app; GRANT azure_pg_admin TO mallory"
            )
        with plain.connect("app", "shop") as app:
            app.execute("GRANT CREATE ON SCHEMA public TO mallory")
        spec = site.spec(SPEC, SEED)
        for role, who in (("app", "mallory"), ("postgres", "app")):
            target = DsnTarget(Secret(plain.dsn(role, "shop")))
            with pytest.raises(PlanRefused, match=f"in which the role '{who}' may create"):
                plan(spec, inspect(target, spec))
        with plain.connect("app", "shop") as app:
            app.execute("REVOKE CREATE ON SCHEMA public FROM mallory")
        do(DsnTarget(Secret(plain.dsn("app", "shop"))), spec)


def dsn(role: Attacker, site: Site) -> str:
    parts = conninfo_to_dict(site.twin.dsn(site.name))
    parts.pop("passfile")
    return make_conninfo(**parts | {"user": role.name, "password": role.password})


def do(target: DsnTarget, spec: Spec) -> Plan:
    planned = plan(spec, inspect(target, spec))
    apply(target, spec, planned, Permission(), Silent())
    return planned
