"""The service's own roles stay as they are; people's roles are the server admin's to keep."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.postgres.instance import Instance

pytestmark = pytest.mark.every_major

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
    ("statement", "verb"),
    [
        ("ALTER ROLE {} RENAME TO other", "alter"),
        ("ALTER ROLE {} PASSWORD 'p'", "alter"),
        ("ALTER ROLE {} LOGIN", "alter"),
        ("ALTER USER {} CONNECTION LIMIT 1", "alter"),
        ("ALTER ROLE {} SET work_mem = '1MB'", "alter"),
        ("ALTER ROLE {} RESET ALL", "alter"),
        ("ALTER ROLE {} IN DATABASE postgres SET work_mem = '1MB'", "alter"),
        ("DROP ROLE {}", "drop"),
        ("DROP ROLE IF EXISTS nobody, {}", "drop"),
        ("DROP GROUP {}", "drop"),
        ("DO $$ BEGIN DROP ROLE {}; END $$", "drop"),
        ("DO $$ BEGIN EXECUTE 'ALTER ROLE {} NOINHERIT'; END $$", "alter"),
    ],
)
def test_the_services_roles_cannot_be_changed(
    admin: Connection, role: str, statement: str, verb: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege) as caught:
        admin.execute(statement.format(role))
    said = caught.value.diag
    assert said.message_primary == f'permission denied to {verb} restricted role "{role}"'
    assert said.message_detail == "The role belongs to the service."
    assert said.message_hint == MEMBERS_ONLY


def test_nor_by_themselves(admin: Connection) -> None:
    admin.execute("SET ROLE azure_pg_admin")
    for statement in (
        "ALTER ROLE CURRENT_USER PASSWORD 'p'",
        "ALTER ROLE CURRENT_ROLE SET work_mem = '1MB'",
        "ALTER USER azure_pg_admin PASSWORD NULL",
    ):
        with pytest.raises(errors.InsufficientPrivilege, match='to alter restricted role "azure_pg_admin"'):
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


def test_nothing_is_granted_to_them(admin: Connection, person: str) -> None:
    """As Microsoft's page on access management shows it."""
    for statement in (
        f"GRANT {person} TO azure_pg_admin",
        f"GRANT {person} TO CURRENT_USER, azure_local_ai_setting_manager",
        "REVOKE pg_monitor FROM azure_pg_admin",
        "CREATE ROLE unmade ROLE azure_pg_admin",
        "CREATE ROLE unmade ADMIN CURRENT_USER, azuresu",
        "CREATE GROUP unmade USER azuresu",
    ):
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied to alter restricted role"):
            admin.execute(statement)


@pytest.mark.parametrize(
    "role",
    [
        *("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"),
        *("pg_read_all_data", "pg_signal_backend", "pg_checkpoint", "pg_create_subscription"),
    ],
)
def test_roles_of_postgres_that_the_admin_gives_away(admin: Connection, person: str, role: str) -> None:
    """Two public dumps of roles on Azure show them, each WITH ADMIN OPTION."""
    if role == "pg_create_subscription" and admin.info.server_version < 160000:
        with pytest.raises(errors.UndefinedObject):
            admin.execute(f"GRANT {role} TO {person}")
        return
    has = "SELECT pg_has_role(%s, %s, 'USAGE')"
    assert admin.execute(has, ["azure_pg_admin", role]).fetchone() == (True,)
    for statement, expected in (("GRANT {} TO {}", True), ("REVOKE {} FROM {}", False)):
        admin.execute(statement.format(role, person))
        assert admin.execute(has, [person, role]).fetchone() == (expected,)


def test_replication_is_the_admins_to_give_and_take(admin: Connection, person: str) -> None:
    """ALTER ROLE ... WITH REPLICATION is a step of Azure's page on logical replication, of the admin too."""
    replicates = "SELECT rolreplication, rolcanlogin FROM pg_roles WHERE rolname = %s"
    for statement, expected in (
        ("ALTER ROLE {} WITH REPLICATION", (True, False)),
        ("ALTER ROLE {} NOREPLICATION LOGIN", (False, True)),
        ("ALTER USER {} REPLICATION NOLOGIN PASSWORD 'p'", (True, False)),
        ("DO $$ BEGIN EXECUTE 'ALTER ROLE {} NOREPLICATION'; END $$", (False, False)),
    ):
        admin.execute(statement.format(person))
        assert admin.execute(replicates, [person]).fetchone() == expected
    own = admin.info.user
    for statement in (f'ALTER ROLE "{own}" WITH REPLICATION', "ALTER ROLE CURRENT_USER REPLICATION"):
        admin.execute(statement)
        assert admin.execute(replicates, [own]).fetchone() == (True, True)
    # The privileges end with the statement, and with its error.
    for forbidden in ("CREATE ROLE boss SUPERUSER", f"ALTER ROLE {person} REPLICATION SUPERUSER"):
        with pytest.raises(errors.InsufficientPrivilege):
            admin.execute(forbidden)
    assert admin.execute(replicates, [person]).fetchone() == (False, False)
    for wrong in (f"ALTER ROLE {person} REPLICATION NOREPLICATION", "ALTER ROLE nobody REPLICATION"):
        with pytest.raises((errors.SyntaxError, errors.UndefinedObject)):
            admin.execute(wrong)
    assert admin.execute("SELECT current_user").fetchone() == (own,)


def test_nobody_else_gives_replication(twin: Instance, person: str) -> None:
    with twin.superuser() as superuser:
        for attributes in ("CREATEROLE", "NOCREATEROLE"):
            superuser.execute(f"ALTER ROLE {person} {attributes}")
            superuser.execute(f"SET SESSION AUTHORIZATION {person}")
            with pytest.raises(errors.InsufficientPrivilege):
                superuser.execute(f"ALTER ROLE {person} REPLICATION")
            superuser.execute("RESET SESSION AUTHORIZATION")


def test_the_admin_reads_what_monitoring_reads(twin: Instance, admin: Connection, person: str) -> None:
    admin.execute("SELECT count(*) FROM pg_ls_waldir()")
    shown = "SELECT count(*) FROM pg_settings WHERE concat_ws(' ', setting, boot_val, reset_val) LIKE %s"
    assert admin.execute("SHOW data_directory").fetchone() == (str(twin.home.data),)
    assert admin.execute(shown, [f"%{twin.home.host_socket}%"]).fetchone() == (0,)


def test_the_roles_can_be_dumped(twin: Instance, admin: Connection, person: str) -> None:
    """As public dumps of servers on Azure show: pg_read_all_data reads pg_authid, and superusers' have no password."""
    admin.execute(f"ALTER ROLE {person} PASSWORD 'p'")
    done = subprocess.run(
        [twin.program("pg_dumpall"), "--roles-only", "--no-sync", "--dbname", twin.dsn()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (own,) = (line for line in done.stdout.splitlines() if line.startswith(f"ALTER ROLE {person} "))
    assert "PASSWORD 'SCRAM-SHA-256$" in own
    (superusers,) = (line for line in done.stdout.splitlines() if line.startswith("ALTER ROLE azuresu "))
    assert "PASSWORD" not in superusers


def test_user_mappings_are_read_with_their_options(twin: Instance, admin: Connection) -> None:
    """It follows from pg_read_all_data: others' passwords for other servers are not the admin's secret."""
    with twin.superuser(admin.info.dbname) as superuser:
        superuser.execute("CREATE FOREIGN DATA WRAPPER mapped")
        try:
            superuser.execute("CREATE SERVER mapped FOREIGN DATA WRAPPER mapped")
            superuser.execute("CREATE USER MAPPING FOR azuresu SERVER mapped OPTIONS (password 'theirs')")
            found = admin.execute("SELECT umoptions FROM pg_catalog.pg_user_mapping").fetchall()
            assert (["password=theirs"],) in found
        finally:
            superuser.execute("DROP FOREIGN DATA WRAPPER mapped CASCADE")


def test_session_replication_role_is_the_admins_to_set(
    twin: Instance, admin: Connection, person: str
) -> None:
    admin.execute("CREATE TEMP TABLE parent (id int PRIMARY KEY)")
    admin.execute("CREATE TEMP TABLE child (id int REFERENCES parent)")
    admin.execute("SET session_replication_role = replica")
    admin.execute("INSERT INTO child VALUES (1)")
    admin.execute("RESET session_replication_role")
    with pytest.raises(errors.ForeignKeyViolation):
        admin.execute("INSERT INTO child VALUES (2)")
    with twin.superuser() as superuser:
        superuser.execute(f"SET SESSION AUTHORIZATION {person}")
        with pytest.raises(errors.InsufficientPrivilege):
            superuser.execute("SET session_replication_role = replica")
        superuser.execute("RESET SESSION AUTHORIZATION")


def test_event_triggers_are_for_superusers(admin: Connection) -> None:
    """Nothing public says that Azure allows them; one of the admin's would run in the superuser's sessions."""
    admin.execute("CREATE FUNCTION pg_temp.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RETURN; END'")
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied to create event trigger"):
        admin.execute("CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION pg_temp.f()")


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
    "role",
    ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files", "pg_write_all_data"],
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
