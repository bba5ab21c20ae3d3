"""The allow-list, and who may create, update and drop extensions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres.instance import Instance

Connection = psycopg.Connection[Any]
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


@contextmanager
def new_role(
    twin: Instance, database: str, *, member_of: str = "", options: str = ""
) -> Iterator[Connection]:
    """A connection as a role of its own, which is gone afterwards with all that it owns."""
    role = sql.Identifier(f"role_{uuid.uuid4().hex[:12]}")
    with twin.superuser(database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(role, sql.SQL(options)))
        if member_of:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(member_of), role))
        connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
        try:
            yield connection
        finally:
            connection.execute("RESET SESSION AUTHORIZATION")
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
def plpgsql_listed(twin: Instance) -> Iterator[None]:
    """plpgsql among the allowed extensions: one whose control file fixes its schema."""
    before = twin.parameter("azure.extensions").value
    twin.set_parameter("azure.extensions", f"{before},plpgsql")
    yield
    twin.set_parameter("azure.extensions", before)


def home_of(connection: Connection, extension: str) -> str | None:
    """The schema that an extension is in, None if it does not exist."""
    row = connection.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = %s", [extension]
    ).fetchone()
    return row and row[0]


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
    with new_role(twin, empty_database) as connection:
        for verb in ("CREATE", "DROP"):
            with pytest.raises(errors.InsufficientPrivilege) as caught:
                connection.execute(sql.SQL("{} EXTENSION vector").format(sql.SQL(verb)))
            assert caught.value.diag.message_primary == (
                f'Only members of "azure_pg_admin" are allowed to use {verb} EXTENSION'
            )


@pytest.mark.parametrize(
    ("statement", "schemas"),
    [
        ("CREATE EXTENSION vector SCHEMA {}", SYSTEM_SCHEMAS),
        ("CREATE EXTENSION IF NOT EXISTS vector SCHEMA {} CASCADE", SYSTEM_SCHEMAS),
        ("CREATE EXTENSION vector SCHEMA {} VERSION '0.8.5'", SYSTEM_SCHEMAS),
        ("CREATE EXTENSION azure_local_ai SCHEMA {}", SYSTEM_SCHEMAS),
        ("DO $$ BEGIN CREATE EXTENSION vector SCHEMA {}; END $$", SYSTEM_SCHEMAS),
        # pg_toast may not even be used, so that a search_path leaves it out.
        ("SET search_path = {}; CREATE EXTENSION vector", SYSTEM_SCHEMAS[:2]),
        ("SET search_path = {}; CREATE EXTENSION azure_local_ai CASCADE", SYSTEM_SCHEMAS[:2]),
    ],
)
def test_the_systems_schemas_are_closed(admin: Connection, statement: str, schemas: tuple[str, ...]) -> None:
    for schema in schemas:
        with pytest.raises(errors.InsufficientPrivilege, match=f"permission denied for schema {schema}"):
            admin.execute(statement.format(schema))
        admin.execute("RESET search_path")
    assert extensions(admin) == {"plpgsql"}


def test_a_schema_of_somebody_else_needs_the_right_to_create(
    twin: Instance, admin: Connection, empty_database: str
) -> None:
    with twin.superuser(empty_database) as owner:
        owner.execute("CREATE SCHEMA theirs")
        owner.execute("GRANT USAGE ON SCHEMA theirs TO PUBLIC")
        for statement in (
            "CREATE EXTENSION vector SCHEMA theirs",
            "SET search_path = theirs; CREATE EXTENSION vector",
        ):
            with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema theirs"):
                admin.execute(statement)
        owner.execute("GRANT CREATE ON SCHEMA theirs TO azure_pg_admin")
        admin.execute("CREATE EXTENSION vector SCHEMA theirs")
        assert home_of(admin, "vector") == "theirs"


def test_the_schema_is_the_one_named_or_the_first_of_the_users_own_path(admin: Connection) -> None:
    user = admin.info.user
    admin.execute(
        sql.SQL("CREATE SCHEMA named; CREATE SCHEMA azuresu; CREATE SCHEMA {}").format(sql.Identifier(user))
    )
    for clause, path, expected in (
        ("SCHEMA named", '"$user", public', "named"),
        ("SCHEMA named CASCADE", '"$user", public', "named"),
        ("", "missing, named, public", "named"),
        ("", '"$user", public', user),
        ("CASCADE", '"$user", public', user),
    ):
        admin.execute(f"SET search_path = {path}")
        admin.execute(f"CREATE EXTENSION vector {clause}")
        assert home_of(admin, "vector") == expected
        admin.execute("DROP EXTENSION vector")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE EXTENSION vector SCHEMA nowhere", 'schema "nowhere" does not exist'),
        ("SET search_path = nowhere; CREATE EXTENSION vector", "no schema has been selected to create in"),
        ("SET search_path = ''; CREATE EXTENSION vector CASCADE", "no schema has been selected to create in"),
    ],
)
def test_a_schema_that_is_not_there_is_postgres_own_error(
    admin: Connection, statement: str, message: str
) -> None:
    with pytest.raises(errors.InvalidSchemaName, match=message):
        admin.execute(statement)


def test_an_extension_that_exists_needs_no_schema(admin: Connection) -> None:
    admin.execute("CREATE EXTENSION vector")
    notices: list[str | None] = []
    admin.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    for schema in ("pg_catalog", "nowhere"):
        admin.execute(f"CREATE EXTENSION IF NOT EXISTS vector SCHEMA {schema}")
        with pytest.raises(errors.DuplicateObject):
            admin.execute(f"CREATE EXTENSION vector SCHEMA {schema}")
    assert notices == ['extension "vector" already exists, skipping'] * 2


@pytest.mark.usefixtures("plpgsql_listed")
def test_a_schema_that_the_extension_brings_is_not_the_users_choice(admin: Connection) -> None:
    for statement in ("CREATE EXTENSION plpgsql", "CREATE EXTENSION plpgsql VERSION '1.0'"):
        admin.execute("DROP EXTENSION plpgsql")
        admin.execute("SET search_path = nowhere")
        admin.execute(statement)
        assert home_of(admin, "plpgsql") == "pg_catalog"
    admin.execute("DROP EXTENSION plpgsql")
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema pg_catalog"):
        admin.execute("CREATE EXTENSION plpgsql SCHEMA pg_catalog")
    with pytest.raises(errors.InvalidSchemaName, match="no schema has been selected"):
        admin.execute("CREATE EXTENSION plpgsql CASCADE")
    with pytest.raises(errors.InvalidParameterValue, match="no installation script"):
        admin.execute("RESET search_path; CREATE EXTENSION plpgsql VERSION 'none'")


def test_operators_of_a_user_do_not_decide_what_is_checked(admin: Connection) -> None:
    admin.execute("""
        CREATE SCHEMA mine;
        CREATE FUNCTION mine.trap(name, name) RETURNS boolean LANGUAGE plpgsql
            AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
        CREATE FUNCTION mine.trap(text, text) RETURNS boolean LANGUAGE plpgsql
            AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
        CREATE OPERATOR mine.= (FUNCTION = mine.trap, LEFTARG = name, RIGHTARG = name);
        CREATE OPERATOR mine.= (FUNCTION = mine.trap, LEFTARG = text, RIGHTARG = text);
        SET search_path = mine, pg_catalog;
        CREATE EXTENSION vector;
        RESET search_path;
    """)
    assert home_of(admin, "vector") == "mine"


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
    assert (found.value, found.is_config_pending_restart) == ("vector,azure_local_ai,age", False)
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
