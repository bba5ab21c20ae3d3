"""The allow-list, and who may create, update and drop extensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres.instance import Instance

Connection = psycopg.Connection[Any]


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


def extensions(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT extname FROM pg_extension").fetchall()}


def test_the_admin_is_no_superuser(admin: Connection) -> None:
    row = admin.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, pg_has_role('azure_pg_admin', 'member')"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row == (False, True, True, True, True)


def test_the_admin_creates_and_drops_what_is_allow_listed(admin: Connection) -> None:
    for name in ("vector", "azure_local_ai"):
        admin.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))
    assert extensions(admin) == {"plpgsql", "vector", "azure_local_ai"}
    admin.execute("ALTER EXTENSION azure_local_ai UPDATE")
    admin.execute("DROP EXTENSION vector, azure_local_ai")
    assert extensions(admin) == {"plpgsql"}
    assert admin.execute("SELECT to_regnamespace('azure_local_ai')").fetchone() == (None,)
    admin.execute("CREATE EXTENSION IF NOT EXISTS azure_local_ai CASCADE")
    owner = admin.execute(
        "SELECT extowner::regrole::text FROM pg_extension WHERE extname LIKE 'azure%'"
    ).fetchone()
    assert owner == ("azuresu",)


@pytest.mark.parametrize(
    "statement", ["CREATE EXTENSION {}", "DROP EXTENSION {}", "CREATE EXTENSION IF NOT EXISTS {}"]
)
@pytest.mark.parametrize("name", ["postgis", "plpgsql", "no_such_extension"])
def test_what_is_not_allow_listed_is_refused_in_azures_words(
    admin: Connection, statement: str, name: str
) -> None:
    for wrapped in ("{}", "DO $$ BEGIN {}; END $$"):
        with pytest.raises(errors.FeatureNotSupported) as caught:
            admin.execute(wrapped.format(statement.format(name)))
        said = caught.value.diag
        assert said.message_primary == (
            f'extension "{name}" is not allow-listed for "azure_pg_admin" users in Azure Database for PostgreSQL'
        )
        assert said.message_hint == (
            "to learn how to allow an extension or see the list of allowed extensions, please refer to "
            "https://go.microsoft.com/fwlink/?linkid=2301063"
        )


def test_others_than_admins_are_refused_in_azures_words(twin: Instance, empty_database: str) -> None:
    role = sql.Identifier(f"role_{empty_database}")
    with twin.superuser(empty_database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
            for verb in ("CREATE", "DROP"):
                with pytest.raises(errors.InsufficientPrivilege) as caught:
                    connection.execute(sql.SQL("{} EXTENSION vector").format(sql.SQL(verb)))
                assert caught.value.diag.message_primary == (
                    f'Only members of "azure_pg_admin" are allowed to use {verb} EXTENSION'
                )
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_set_schema_is_refused(admin: Connection) -> None:
    admin.execute("CREATE EXTENSION vector")
    admin.execute("CREATE SCHEMA other")
    with pytest.raises(
        errors.FeatureNotSupported, match="SET SCHEMA clause for ALTER EXTENSION is not supported"
    ):
        admin.execute("ALTER EXTENSION vector SET SCHEMA other")


def test_privileges_end_with_the_statement(admin: Connection) -> None:
    admin.execute("CREATE EXTENSION vector")
    with pytest.raises(errors.DuplicateObject):
        admin.execute("CREATE EXTENSION vector")
    for forbidden in ("CREATE ROLE boss SUPERUSER", "COPY (SELECT 1) TO '/dev/null'", "SET ROLE azuresu"):
        with pytest.raises(errors.InsufficientPrivilege):
            admin.execute(forbidden)


def test_the_list_can_be_shown_but_not_set_in_sql(admin: Connection) -> None:
    assert admin.execute("SHOW azure.extensions").fetchone() == ("vector,azure_local_ai",)
    with pytest.raises(errors.CantChangeRuntimeParam):
        admin.execute("SET azure.extensions = 'postgis'")
    with pytest.raises(psycopg.Error):
        admin.execute("ALTER SYSTEM SET azure.extensions = 'postgis'")


@pytest.mark.parametrize("name", ["azpg.model_host_socket", "azpg.model_host_uid"])
def test_the_way_to_the_model_host_is_neither_shown_nor_changed(admin: Connection, name: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        admin.execute(f"SHOW {name}")
    with pytest.raises(psycopg.Error):
        admin.execute(f"SET {name} = '1'")


def test_allow_list_is_normalised_and_takes_effect_at_once(home: Any) -> None:
    instance = Instance("lists", home=home)
    instance.up()
    found = instance.set_parameter("azure.extensions", " VECTOR , azure_local_ai,,vector,age ")
    assert (found.value, found.pending_restart) == ("vector,azure_local_ai,age", False)
    with instance.connect(autocommit=True) as connection:
        assert connection.execute("SHOW azure.extensions").fetchone() == ("vector,azure_local_ai,age",)
        connection.execute("CREATE EXTENSION vector")
        instance.set_parameter("azure.extensions", "")
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute("DROP EXTENSION vector")
    with pytest.raises(ParameterRefused, match="my_extension cannot be allow-listed") as caught:
        instance.set_parameter("azure.extensions", "vector,my_extension")
    assert "pg_stat_statements" in caught.value.hint
    assert instance.parameter("azure.extensions").value == ""
    instance.down()
    instance.up()
    assert instance.parameter("azure.extensions").value == ""
