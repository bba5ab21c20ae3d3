"""The service's own roles stay as they are; people's roles are the server admin's to keep."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.postgres.instance import Instance

Connection = psycopg.Connection[Any]
ROLES = ("azure_pg_admin", "azure_local_ai_setting_manager", "azure_ai_settings_manager", "azuresu")
MEMBERS_ONLY = "GRANT and REVOKE change who is a member of it."


@pytest.fixture
def admin(twin: Instance) -> Iterator[Connection]:
    with twin.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def person(admin: Connection) -> Iterator[str]:
    """A role that the server admin has made."""
    name = f"person_{uuid.uuid4().hex[:12]}"
    admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("statement", "done"),
    [
        ("ALTER ROLE {} RENAME TO other", "renamed"),
        ("ALTER ROLE {} PASSWORD 'p'", "altered"),
        ("ALTER ROLE {} LOGIN", "altered"),
        ("ALTER USER {} CONNECTION LIMIT 1", "altered"),
        ("ALTER ROLE {} SET work_mem = '1MB'", "altered"),
        ("ALTER ROLE {} RESET ALL", "altered"),
        ("ALTER ROLE {} IN DATABASE postgres SET work_mem = '1MB'", "altered"),
        ("DROP ROLE {}", "dropped"),
        ("DROP ROLE IF EXISTS nobody, {}", "dropped"),
        ("DROP GROUP {}", "dropped"),
        ("DO $$ BEGIN DROP ROLE {}; END $$", "dropped"),
        ("DO $$ BEGIN EXECUTE 'ALTER ROLE {} NOINHERIT'; END $$", "altered"),
    ],
)
def test_the_services_roles_cannot_be_changed(
    admin: Connection, role: str, statement: str, done: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege) as caught:
        admin.execute(statement.format(role))
    said = caught.value.diag
    assert said.message_primary == f'role "{role}" belongs to the service and cannot be {done}'
    assert said.message_hint == MEMBERS_ONLY


def test_nor_by_themselves(admin: Connection) -> None:
    admin.execute("SET ROLE azure_pg_admin")
    for statement in (
        "ALTER ROLE CURRENT_USER PASSWORD 'p'",
        "ALTER ROLE CURRENT_ROLE SET work_mem = '1MB'",
        "ALTER USER azure_pg_admin PASSWORD NULL",
    ):
        with pytest.raises(errors.InsufficientPrivilege, match='"azure_pg_admin" belongs to the service'):
            admin.execute(statement)


@pytest.mark.parametrize("name", ["azure_mine", "azure_", "azuresu"])
def test_their_names_are_reserved(admin: Connection, person: str, name: str) -> None:
    for statement in (
        f"CREATE ROLE {name}",
        f"CREATE USER {name} PASSWORD 'p'",
        f"CREATE GROUP {name}",
        f"ALTER ROLE {person} RENAME TO {name}",
        f"DO $$ BEGIN CREATE ROLE {name}; END $$",
    ):
        with pytest.raises(errors.InsufficientPrivilege) as caught:
            admin.execute(statement)
        said = caught.value.diag
        assert said.message_primary == f'role name "{name}" is reserved for the service'
        assert said.message_detail == 'Names that begin with "azure_" are reserved, and "azuresu".'
        assert said.message_hint == "Choose another name."


def test_membership_of_them_can_be_granted(admin: Connection, person: str) -> None:
    member = "SELECT pg_has_role(%s, 'azure_local_ai_setting_manager', 'MEMBER')"
    for grant, revoke in (
        ("GRANT azure_local_ai_setting_manager TO {}", "REVOKE azure_local_ai_setting_manager FROM {}"),
        (
            "ALTER GROUP azure_local_ai_setting_manager ADD USER {}",
            "ALTER GROUP azure_local_ai_setting_manager DROP USER {}",
        ),
    ):
        for statement, expected in ((grant, True), (revoke, False)):
            admin.execute(statement.format(person))
            assert admin.execute(member, [person]).fetchone() == (expected,)


def test_other_roles_are_the_admins(admin: Connection, person: str) -> None:
    for statement in (
        "ALTER ROLE {} LOGIN PASSWORD 'p'",
        "ALTER ROLE {} SET work_mem = '1MB'",
        "ALTER ROLE {} RENAME TO {}_azure_",
        "ALTER ROLE {}_azure_ RENAME TO {}",
        "DROP ROLE {}",
    ):
        admin.execute(statement.format(person, person))
    admin.execute("ALTER ROLE CURRENT_USER SET work_mem = '1MB'")
    admin.execute("ALTER ROLE CURRENT_USER RESET work_mem")
    with pytest.raises(errors.UndefinedObject):
        admin.execute("DROP ROLE nobody")


def test_a_failed_transaction_is_left_with_rollback(admin: Connection) -> None:
    admin.execute("BEGIN")
    with pytest.raises(errors.InsufficientPrivilege):
        admin.execute("DROP ROLE azure_pg_admin")
    with pytest.raises(errors.InFailedSqlTransaction):
        admin.execute("DROP ROLE azure_pg_admin")
    admin.execute("ROLLBACK")
    assert admin.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "role", ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files", "pg_monitor"]
)
@pytest.mark.parametrize(
    "statement",
    [
        "GRANT {} TO {}",
        "GRANT {} TO CURRENT_USER",
        "ALTER GROUP {} ADD USER {}",
        "CREATE ROLE thief IN ROLE {}",
        "DO $$ BEGIN EXECUTE 'GRANT {} TO {}'; END $$",
    ],
)
def test_roles_that_reach_beyond_sql_cannot_be_granted(
    admin: Connection, person: str, role: str, statement: str
) -> None:
    """PostgreSQL 15 leaves that to CREATEROLE, and the server's files would be the admin's."""
    with pytest.raises((errors.InsufficientPrivilege, errors.ReservedName)):
        admin.execute(statement.format(role, person))
    row = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'thief'").fetchone()
    assert row == (0,)
