"""A trigger is azpg's by what it calls and by the ledger, not by its name, which anybody can give one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from azpg_provision.errors import PlanRefused
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site, kinds
from tests.security.roles import Attacker, Connection, attacker

pytestmark = [pytest.mark.every_major, pytest.mark.vector]
POISON = """
CREATE FUNCTION app.poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.embedding := NULL; NEW.title := 'explosives'; RETURN NEW; END $$;
CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION app.poison()
"""
COLUMN = f"    - {{{{column: {{}}, source: [title], model: {URI}, sync: {{}}}}}}\n"


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who may hang triggers on a table of the admin's."""
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL(
                "CREATE TABLE products (id bigint PRIMARY KEY, title text); CREATE SCHEMA app;"
                "GRANT ALL ON products TO {0}; GRANT ALL ON SCHEMA app TO {0}"
            ).format(one.role)
        )
        yield one


def spec_of(site: Site, **columns: str) -> object:
    written = "".join(COLUMN.format(name, mode) for name, mode in columns.items())
    return site.spec(HEAD + "  tables:\n  - name: products\n    embeddings:\n" + written, init=None)


@pytest.mark.parametrize("name", ["zzz_azpg_9_embed", "zzz_azpg_2_embed", "zzz_azpg_1_embed2", "zzzz"])
def test_a_later_trigger_of_others_is_said_whatever_its_name_is(
    twin: Instance, database: str, eve: Attacker, tmp_path: Path, name: str
) -> None:
    """2 is a column that the spec does not name any more."""
    site = Site(twin, tmp_path, database)
    spec = spec_of(site, embedding="trigger", other="queue")
    site.apply(spec)
    with eve.connect(database) as evil:
        evil.execute(POISON.format(name=name))
    fewer = spec_of(site, embedding="trigger")
    for one in (spec, fewer) if name != "zzz_azpg_2_embed" else (fewer,):
        with pytest.raises(PlanRefused, match=f"has the trigger {name}, which changes rows after azpg's"):
            site.plan(one)
    with site.connect() as admin:
        admin.execute(f"DROP TRIGGER {name} ON products")
    assert site.plan(spec).changes == ()


def test_a_trigger_by_the_name_of_a_columns_is_drift(
    twin: Instance, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Of one that the spec names, and that has no such trigger: apply takes it away, once nobody else has a say in it."""
    site = Site(twin, tmp_path, database)
    spec = spec_of(site, embedding="trigger", other="queue")
    site.apply(spec)
    with eve.connect(database) as evil:
        evil.execute(POISON.format(name="zzz_azpg_2_embed"))
    with pytest.raises(PlanRefused, match=r"the trigger zzz_azpg_2_embed .* belongs to the role"):
        site.plan(spec)
    with twin.superuser(database) as superuser:
        superuser.execute("ALTER FUNCTION app.poison OWNER TO CURRENT_USER")
    assert kinds(site.plan(spec)) == ["update sync"]
    site.apply(spec)
    assert site.plan(spec).changes == ()
    with site.connect() as admin:
        query = "SELECT count(*) FROM pg_trigger WHERE tgfoid = 'app.poison'::regproc"
        assert admin.execute(query).fetchone() == (0,)


def test_azpgs_own_triggers_are_its_own(twin: Instance, database: str, eve: Attacker, tmp_path: Path) -> None:
    """Of several columns, also of one that is gone, or that the spec does not name any more."""
    site = Site(twin, tmp_path, database)
    site.apply(spec_of(site, embedding="trigger", other="trigger"))
    site.plan(spec_of(site, embedding="trigger"))
    site.plan(spec_of(site, other="trigger"))
    with site.connect() as admin:
        admin.execute("ALTER TABLE products DROP COLUMN other; ALTER TABLE products RENAME TO things")
        admin.execute("ALTER TABLE things RENAME TO products")
    spec = spec_of(site, embedding="trigger")
    site.apply(spec)
    assert site.plan(spec).changes == ()
    with site.connect() as admin, pytest.raises(psycopg.errors.UndefinedObject):
        admin.execute("DROP TRIGGER zzz_azpg_2_embed ON products")
