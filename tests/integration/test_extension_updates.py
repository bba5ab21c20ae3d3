"""ALTER EXTENSION azure_local_ai UPDATE gives what a fresh installation gives, from every version there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from azpg_runtime.postgres.instance import Instance
from tests.integration.catalog import check_updates, describe
from tests.integration.extensions import allow_listed, extension_folder, stand_in

pytestmark = pytest.mark.every_major

Connection = psycopg.Connection[Any]
FIRST_RELEASE = "1.0.0"


@pytest.fixture(scope="session")
def twin(private_twin: Instance) -> Instance:
    return private_twin


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


def test_every_version_updates_to_what_a_fresh_installation_is(twin: Instance, admin: Connection) -> None:
    check_updates(admin, "azure_local_ai", FIRST_RELEASE)
    scripts = {path.name for path in extension_folder(twin).glob("azure_local_ai--*.sql")}
    row = admin.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'azure_local_ai'"
    ).fetchone()
    assert row is not None
    # Otherwise a fresh installation would itself be an update.
    assert f"azure_local_ai--{row[0]}.sql" in scripts


def test_the_comparison_sees_every_function_and_the_schema(admin: Connection) -> None:
    admin.execute("CREATE EXTENSION azure_local_ai")
    found = describe(admin, "azure_local_ai")
    rows = [name for name, kind, _ in found if kind == "row"]
    assert len([name for name in rows if name.startswith("function azure_local_ai.")]) == 12
    assert {"schema azure_local_ai", "extension azure_local_ai"} <= set(rows)
    assert ("schema azure_local_ai", "grant", "=U/azuresu") in found
    assert {"row", "comment", "grant", "initial grant", "dependency"} == {kind for _, kind, _ in found}


# Another name for the extension, whose next version is then the test's to invent.
SYNTHETIC = "azure_ai"
CONTROL = "module_pathname = 'azure_local_ai'\nrelocatable = false"
CHANGES = {
    "cost": "ALTER FUNCTION azure_ai.model_metadata(text) COST 7",
    "volatility": "ALTER FUNCTION azure_ai.model_metadata(text) STABLE",
    "parallel safety": "ALTER FUNCTION azure_ai.model_metadata(text) PARALLEL RESTRICTED",
    "NULL handling": "ALTER FUNCTION azure_ai.model_metadata(text) CALLED ON NULL INPUT",
    "security": "ALTER FUNCTION azure_ai.model_metadata(text) SECURITY DEFINER",
    "settings": "ALTER FUNCTION azure_ai.model_metadata(text) SET work_mem = '1MB'",
    "owner": "ALTER FUNCTION azure_ai.model_metadata(text) OWNER TO azure_pg_admin",
    "grants": "REVOKE ALL ON FUNCTION azure_ai.model_metadata(text) FROM PUBLIC",
    "comment": "COMMENT ON FUNCTION azure_ai.model_metadata(text) IS 'another'",
    "dependency": "ALTER FUNCTION azure_ai.model_metadata(text) DEPENDS ON EXTENSION plpgsql",
    "symbol": "CREATE OR REPLACE FUNCTION azure_ai.model_metadata(model_uri text) RETURNS jsonb LANGUAGE C"
    " VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'azure_local_ai_get_setting'",
    "default": "CREATE OR REPLACE FUNCTION azure_ai.model_loaded(model_uri text, timeout_ms integer DEFAULT 1)"
    " RETURNS boolean LANGUAGE C VOLATILE STRICT PARALLEL SAFE"
    " AS 'MODULE_PATHNAME', 'azure_local_ai_model_loaded'",
    "one function more": "CREATE FUNCTION azure_ai.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "one function less": "DROP FUNCTION azure_ai.model_metadata(text)",
    "schema's grants": "REVOKE USAGE ON SCHEMA azure_ai FROM PUBLIC",
    "schema's comment": "COMMENT ON SCHEMA azure_ai IS 'another'",
}


def first_script(twin: Instance) -> str:
    text = (extension_folder(twin) / f"azure_local_ai--{FIRST_RELEASE}.sql").read_text()
    return re.sub(
        r"azure_local_ai\.|(?<=SCHEMA )azure_local_ai\b", lambda m: m[0].replace("local_", ""), text
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_update_that_forgets_something_is_found(twin: Instance, admin: Connection, change: str) -> None:
    first = first_script(twin)
    with allow_listed(twin, SYNTHETIC):
        complete = {"1.0.0": first, "1.0.0--1.0.1": f"{change};", "1.0.1": f"{first}\n{change};"}
        with stand_in(twin, SYNTHETIC, control=CONTROL, scripts=complete):
            assert check_updates(admin, SYNTHETIC, "1.0.0") == ["1.0.0"]
        forgetful = complete | {"1.0.0--1.0.1": ""}
        with (
            stand_in(twin, SYNTHETIC, control=CONTROL, scripts=forgetful),
            pytest.raises(AssertionError, match=r"updated from 1\.0\.0"),
        ):
            check_updates(admin, SYNTHETIC, "1.0.0")


def test_chains_of_updates_are_followed_and_gaps_are_found(twin: Instance, admin: Connection) -> None:
    first, change, next_change = first_script(twin), CHANGES["cost"], CHANGES["comment"]
    chain = {
        "1.0.0": first,
        "1.0.0--1.0.1": f"{change};",
        "1.0.1--1.0.2": f"{next_change};",
        "1.0.2": f"{first}\n{change};\n{next_change};",
    }
    with allow_listed(twin, SYNTHETIC):
        with stand_in(twin, SYNTHETIC, control=CONTROL, scripts=chain):
            assert check_updates(admin, SYNTHETIC, "1.0.0") == ["1.0.0", "1.0.1"]
        for missing, complaint in (
            ("1.0.1--1.0.2", r"no update leads from \['1.0.0', '1.0.1'\] to 1.0.2"),
            ("1.0.0--1.0.1", r"no update leads from \['1.0.0'\] to 1.0.2"),
            ("1.0.0", "the script of 1.0.0, the first release, is gone"),
        ):
            rest = {version: text for version, text in chain.items() if version != missing}
            with (
                stand_in(twin, SYNTHETIC, control=CONTROL, scripts=rest),
                pytest.raises(AssertionError, match=complaint),
            ):
                check_updates(admin, SYNTHETIC, "1.0.0")
            admin.execute(f"DROP EXTENSION IF EXISTS {SYNTHETIC}")


def test_what_cannot_be_compared_is_not_passed_over(twin: Instance, admin: Connection) -> None:
    scripts = {"1.0.0": "CREATE TABLE t ()"}
    with (
        allow_listed(twin, SYNTHETIC),
        stand_in(twin, SYNTHETIC, scripts=scripts),
        pytest.raises(AssertionError, match="cannot compare"),
    ):
        check_updates(admin, SYNTHETIC, "1.0.0")
