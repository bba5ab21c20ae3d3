"""The allow-list, and who may create, update and drop extensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres.instance import Instance
from tests.integration.extensions import (
    allow_listed,
    extensions,
    home_of,
    new_role,
    owner_of,
    stand_in,
)

pytestmark = [pytest.mark.every_major, pytest.mark.vector]  # the extension that most of these create
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="session")
def twin(private_twin: Instance) -> Instance:
    return private_twin


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


def refused(connection: Connection, statement: str) -> psycopg.errors.Diagnostic:
    """What the server says against a statement."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(statement)
    return caught.value.diag


def check_not_listed(said: psycopg.errors.Diagnostic, name: str) -> None:
    assert said.sqlstate == "0A000"
    assert said.message_primary == (
        f'extension "{name}" is not allow-listed for "azure_pg_admin" users in Azure Database for PostgreSQL'
    )
    assert said.message_hint == (
        "to learn how to allow an extension or see the list of allowed extensions, please refer to "
        "https://go.microsoft.com/fwlink/?linkid=2301063"
    )


def check_no_admin(said: psycopg.errors.Diagnostic, verb: str) -> None:
    assert said.sqlstate == "42501"
    assert said.message_primary == f'Only members of "azure_pg_admin" are allowed to use {verb} EXTENSION'


def test_the_admin_is_no_superuser(admin: Connection) -> None:
    row = admin.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, pg_has_role('azure_pg_admin', 'member')"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row == (False, True, True, True, True)


def test_the_admin_creates_and_drops_what_is_allow_listed(admin: Connection) -> None:
    for name in ("vector", "azure_local_ai"):
        admin.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))
        assert owner_of(admin, name) == "azuresu"
    assert set(extensions(admin)) == {"plpgsql", "vector", "azure_local_ai"}
    admin.execute("ALTER EXTENSION azure_local_ai UPDATE")
    admin.execute("DROP EXTENSION vector, azure_local_ai")
    assert set(extensions(admin)) == {"plpgsql"}
    assert admin.execute("SELECT to_regnamespace('azure_local_ai')").fetchone() == (None,)
    admin.execute("CREATE EXTENSION IF NOT EXISTS azure_local_ai CASCADE")


# Whatever carries a statement: {} stands for it.
CARRIERS = [
    "{}",
    "DO $do$ BEGIN {}; END $do$",
    "DO $do$ BEGIN EXECUTE $q${}$q$; END $do$",
    "DO $do$ BEGIN BEGIN {}; EXCEPTION WHEN division_by_zero THEN NULL; END; END $do$",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN {}; END $f$; SELECT f()",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $f$ {} $f$; SELECT f()",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$ BEGIN {}; END $f$; SELECT f()",
    "CREATE PROCEDURE p() LANGUAGE plpgsql AS $p$ BEGIN EXECUTE $q${}$q$; END $p$; CALL p()",
]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_is_not_allow_listed_is_refused_in_azures_words(admin: Connection, carrier: str) -> None:
    for name in ("postgis", "plpgsql", "no_such_extension"):
        for statement in (
            f"CREATE EXTENSION {name}",
            f"CREATE EXTENSION IF NOT EXISTS {name}",
            f"CREATE EXTENSION {name} SCHEMA nowhere CASCADE",
            f"DROP EXTENSION {name}",
            f"DROP EXTENSION IF EXISTS vector, {name} CASCADE",
            f"ALTER EXTENSION {name} UPDATE",
            f"ALTER EXTENSION {name} UPDATE TO '9'",
        ):
            check_not_listed(refused(admin, carrier.format(statement)), name)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_is_allow_listed_can_be_created_from_anywhere(admin: Connection, carrier: str) -> None:
    admin.execute(carrier.format("CREATE EXTENSION vector"))
    assert "vector" in extensions(admin)
    # Of several names the first that is not listed is named, and none is dropped.
    check_not_listed(refused(admin, "DROP EXTENSION vector, postgis, plpgsql"), "postgis")
    assert "vector" in extensions(admin)


def test_names_are_compared_exactly(twin: Instance, admin: Connection) -> None:
    check_not_listed(refused(admin, 'CREATE EXTENSION "Vector"'), "Vector")
    check_not_listed(refused(admin, 'CREATE EXTENSION "vec"'), "vec")
    check_not_listed(refused(admin, 'CREATE EXTENSION "vector,azure_local_ai"'), "vector,azure_local_ai")
    check_not_listed(refused(admin, 'CREATE EXTENSION " vector"'), " vector")
    admin.execute("CREATE EXTENSION VECTOR")
    admin.execute('DROP EXTENSION "vector"')
    with allow_listed(twin, ""):
        check_not_listed(refused(admin, "CREATE EXTENSION vector"), "vector")


@pytest.mark.parametrize("carrier", CARRIERS[:3])
def test_others_than_admins_are_refused_in_azures_words(
    twin: Instance, empty_database: str, carrier: str
) -> None:
    with new_role(twin, empty_database) as connection:
        for statement in (
            "CREATE EXTENSION vector",
            "CREATE EXTENSION IF NOT EXISTS plpgsql",
            "DROP EXTENSION vector",
            "DROP EXTENSION IF EXISTS no_such_extension",
            "ALTER EXTENSION vector UPDATE",
            "ALTER EXTENSION vector SET SCHEMA public",
            "ALTER EXTENSION plpgsql ADD SCHEMA public",
            "ALTER EXTENSION plpgsql DROP SCHEMA public",
        ):
            check_no_admin(refused(connection, carrier.format(statement)), statement.split()[0])


def test_membership_is_what_counts(twin: Instance, empty_database: str) -> None:
    with twin.superuser(empty_database) as superuser:
        superuser.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    create, drop = "CREATE EXTENSION vector", "DROP EXTENSION vector"
    with new_role(twin, empty_database, member_of="azure_pg_admin") as member:
        member.execute(create)
        member.execute(drop)
        member.execute("SET ROLE azure_pg_admin")
        member.execute(create)
        member.execute(drop)
        member.execute("RESET ROLE")
        row = member.execute("SELECT quote_ident(current_user)").fetchone()
        assert row is not None
        with new_role(twin, empty_database, member_of=row[0]) as nested:
            nested.execute(create)
            nested.execute(drop)


def test_a_member_without_inheritance_takes_the_role_first(twin: Instance, empty_database: str) -> None:
    with twin.superuser(empty_database) as superuser:
        superuser.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    with new_role(twin, empty_database, member_of="azure_pg_admin", options="NOINHERIT") as member:
        check_no_admin(refused(member, "CREATE EXTENSION vector"), "CREATE")
        member.execute("SET ROLE azure_pg_admin")
        member.execute("CREATE EXTENSION vector")
        member.execute("RESET ROLE")
        check_no_admin(refused(member, "DROP EXTENSION vector"), "DROP")


def test_the_role_in_force_counts_not_the_one_that_logged_in(
    twin: Instance, admin: Connection, empty_database: str
) -> None:
    with new_role(twin, empty_database) as other:
        row = other.execute("SELECT quote_ident(current_user)").fetchone()
        assert row is not None
        name = row[0]
        admin.execute("""
            CREATE FUNCTION as_admin() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'CREATE EXTENSION vector';
            CREATE FUNCTION as_caller() RETURNS void LANGUAGE sql AS 'DROP EXTENSION vector';
        """)
        other.execute("SELECT as_admin()")
        assert home_of(admin, "vector") == "public"
        check_no_admin(refused(other, "SELECT as_caller()"), "DROP")
        with twin.superuser(empty_database) as superuser:
            superuser.execute(f"ALTER FUNCTION public.as_caller() OWNER TO {name}")
            superuser.execute("ALTER FUNCTION public.as_caller() SECURITY DEFINER")
            superuser.execute(f"GRANT {name} TO {admin.info.user}")
        check_no_admin(refused(admin, "SELECT as_caller()"), "DROP")
        admin.execute(f"SET ROLE {name}")
        check_no_admin(refused(admin, "DROP EXTENSION vector"), "DROP")
        admin.execute("RESET ROLE")
        admin.execute("DROP EXTENSION vector")


def test_if_not_exists_is_as_in_postgres(admin: Connection) -> None:
    notices: list[str | None] = []
    admin.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
    admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
    assert notices == ['extension "vector" already exists, skipping']
    said = refused(admin, "CREATE EXTENSION vector")
    assert (said.sqlstate, said.message_primary) == ("42710", 'extension "vector" already exists')
    admin.execute("DROP EXTENSION vector")
    admin.execute("DROP EXTENSION IF EXISTS vector")
    assert notices[1:] == ['extension "vector" does not exist, skipping']
    said = refused(admin, "DROP EXTENSION vector")
    assert (said.sqlstate, said.message_primary) == ("42704", 'extension "vector" does not exist')


WAYS = {
    "azure_ai": "No PostgreSQL outside Azure has azure_ai, and azpg has no stand-in for it yet. "
    "azure_local_ai makes embeddings here.",
    "azure_storage": "No PostgreSQL outside Azure has azure_storage, and azpg has no stand-in for it. "
    "COPY ... FROM STDIN, or \\copy of psql, brings data in here.",
    "pg_diskann": "No PostgreSQL outside Azure has pg_diskann, and azpg has no stand-in for it. "
    "An hnsw index of vector answers the same queries here.",
}


@pytest.mark.parametrize("name", ["age", "plv8", *WAYS])
def test_what_this_server_lacks_is_said_with_a_way_out(twin: Instance, admin: Connection, name: str) -> None:
    with allow_listed(twin, f"{name},vector"):
        for statement in (
            'CREATE EXTENSION "{}"',
            'CREATE EXTENSION IF NOT EXISTS "{}" CASCADE',
            "CREATE EXTENSION \"{}\" SCHEMA nowhere VERSION '1'",
        ):
            said = refused(admin, statement.format(name))
            assert said.sqlstate == "0A000"
            assert said.message_primary == (
                f'extension "{name}" is allow-listed, but this local server does not have it'
            )
            assert said.message_hint == WAYS.get(
                name, '"azpg up NAME --pg-config PATH" makes a server of a PostgreSQL that has it.'
            )
        admin.execute(f'DROP EXTENSION IF EXISTS "{name}"')


def test_cascade_brings_what_is_not_allow_listed(twin: Instance, admin: Connection) -> None:
    with (
        allow_listed(twin, "pg_diskann"),
        stand_in(twin, "pg_diskann", control="requires = 'hll, vector'", scripts={"1.0": ""}),
        stand_in(twin, "hll", scripts={"1.0": "CREATE FUNCTION one() RETURNS int RETURN 1;"}),
    ):
        said = refused(admin, "CREATE EXTENSION pg_diskann")
        assert said.message_primary == 'required extension "hll" is not installed'
        admin.execute("CREATE SCHEMA theirs")
        admin.execute("CREATE EXTENSION pg_diskann SCHEMA theirs CASCADE")
        for name in ("pg_diskann", "hll", "vector"):
            assert (home_of(admin, name), owner_of(admin, name)) == ("theirs", "azuresu")
        assert admin.execute("SELECT theirs.one()").fetchone() == (1,)
        # What came along is still not the admin's to drop by name.
        check_not_listed(refused(admin, "DROP EXTENSION pg_diskann, hll"), "hll")
        admin.execute("DROP EXTENSION pg_diskann")
        assert set(extensions(admin)) == {"plpgsql", "hll", "vector"}


def test_updates_go_to_the_newest_version(twin: Instance, admin: Connection) -> None:
    scripts = {"1.0": "", "1.0--1.1": "", "1.1--1.0": "", "1.1--1.2": ""}
    with allow_listed(twin, "hll"), stand_in(twin, "hll", scripts=scripts):
        admin.execute("CREATE EXTENSION hll VERSION '1.0'")
        for version in ("1.0", "1.1", "none"):
            said = refused(admin, f"ALTER EXTENSION hll UPDATE TO '{version}'")
            assert said.sqlstate == "0A000"
            assert said.message_primary == (
                'extension "hll" can be updated only to its newest version, "1.2"'
            )
            assert said.message_hint == "Use ALTER EXTENSION ... UPDATE without TO."
        admin.execute("ALTER EXTENSION hll UPDATE")
        assert extensions(admin)["hll"] == "1.2"
        admin.execute("DROP EXTENSION hll; CREATE EXTENSION hll VERSION '1.1'")
        admin.execute("ALTER EXTENSION hll UPDATE TO '1.2'")
        assert extensions(admin)["hll"] == "1.2"
        admin.execute("ALTER EXTENSION hll UPDATE")
        assert extensions(admin)["hll"] == "1.2"


def test_what_belongs_to_an_extension_is_not_the_admins(admin: Connection) -> None:
    admin.execute("CREATE EXTENSION vector")
    admin.execute("CREATE FUNCTION mine() RETURNS int RETURN 1")
    for statement in (
        "ALTER EXTENSION vector ADD FUNCTION mine()",
        "ALTER EXTENSION vector DROP TYPE vector",
        "DROP TYPE vector",
    ):
        assert refused(admin, statement).sqlstate in {"42501", "2BP01"}


def test_a_listed_extension_can_be_commented_on_as_pg_dump_does(
    twin: Instance, admin: Connection, empty_database: str
) -> None:
    admin.execute("CREATE EXTENSION vector")
    admin.execute("COMMENT ON EXTENSION vector IS 'mine'")
    comment = "SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'vector'"
    assert admin.execute(comment).fetchone() == ("mine",)
    said = refused(admin, "COMMENT ON EXTENSION plpgsql IS 'mine'")
    assert (said.sqlstate, said.message_primary) == ("42501", "must be owner of extension plpgsql")
    with new_role(twin, empty_database) as other:
        said = refused(other, "COMMENT ON EXTENSION vector IS 'theirs'")
        assert (said.sqlstate, said.message_primary) == ("42501", "must be owner of extension vector")


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
def test_the_way_to_the_model_host_is_neither_shown_nor_changed(
    twin: Instance, admin: Connection, name: str
) -> None:
    # The admin reads all settings, as on Azure, but this one only superusers.
    row = admin.execute(f"SHOW {name}").fetchone()
    assert row is not None
    host = twin.status().host_pid
    assert host is not None
    real = psutil.Process(host).uids().real
    assert row[0] == "" or real in {int(row[0]), 0}, (
        "its own user's, or root, where that one cannot run Python"
    )
    with twin.superuser() as superuser:
        assert superuser.execute("SHOW azpg.model_host_socket").fetchone() == (str(twin.home.host_socket),)
    with pytest.raises(psycopg.Error):
        admin.execute(f"SET {name} = '1'")


def test_allow_list_is_normalised_and_takes_effect_at_once(home: Any) -> None:
    instance = Instance("lists", home=home)
    instance.up()
    found = instance.set_parameter("azure.extensions", " VECTOR , azure_local_ai,,vector,age ")
    assert (found.value, found.is_config_pending_restart) == ("vector,azure_local_ai,age", False)
    with instance.connect(autocommit=True) as connection:
        assert connection.execute("SHOW azure.extensions").fetchone() == ("vector,azure_local_ai,age",)
        connection.execute("CREATE EXTENSION vector")
        instance.set_parameter("azure.extensions", "")
        with pytest.raises(errors.FeatureNotSupported):
            connection.execute("DROP EXTENSION vector")
    with pytest.raises(ParameterRefused, match="my_extension cannot be allow-listed") as caught:
        instance.set_parameter("azure.extensions", "vector,my_extension")
    assert caught.value.hint == "`azpg server parameter show azure.extensions` names the 65 allowed values."
    assert "pg_stat_statements" in instance.parameter("azure.extensions").allowed_values
    assert instance.parameter("azure.extensions").value == ""
    instance.down()
    instance.up()
    assert instance.parameter("azure.extensions").value == ""
