"""Where CREATE EXTENSION may put an extension, although it runs as the superuser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.postgres.instance import Instance
from tests.integration.extensions import allow_listed, extensions, home_of, new_role, stand_in

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


@pytest.fixture(scope="session")
def twin(private_twin: Instance) -> Instance:
    return private_twin


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


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
    assert extensions(admin).keys() == {"plpgsql"}


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


def test_a_schema_that_the_extension_brings_is_not_the_users_choice(
    twin: Instance, admin: Connection
) -> None:
    with allow_listed(twin, "plpgsql"):
        check_plpgsql(admin)


def check_plpgsql(admin: Connection) -> None:
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


def test_a_schema_that_the_extension_makes_is_the_users(twin: Instance, admin: Connection) -> None:
    control = "schema = ag_catalog\nrequires = 'hll'"
    with (
        allow_listed(twin, "age"),
        stand_in(twin, "age", control=control, scripts={"1.0": "CREATE TABLE ag_graph ();"}),
        stand_in(twin, "hll", scripts={"1.0": ""}),
    ):
        admin.execute("CREATE EXTENSION age CASCADE")
        assert (home_of(admin, "age"), home_of(admin, "hll")) == ("ag_catalog", "public")
        owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'ag_catalog'"
        assert admin.execute(owner).fetchone() == (admin.info.user,)
        admin.execute("GRANT USAGE ON SCHEMA ag_catalog TO PUBLIC")
        # The second time the schema is there; so it is when pg_dump's statement names it.
        for statement in ("CREATE EXTENSION age", "CREATE EXTENSION age WITH SCHEMA ag_catalog"):
            admin.execute("DROP EXTENSION age")
            admin.execute(statement)
            assert home_of(admin, "age") == "ag_catalog"
        admin.execute("DROP EXTENSION age")
        admin.execute("DROP SCHEMA ag_catalog; CREATE SCHEMA elsewhere")
        admin.execute("CREATE EXTENSION age SCHEMA elsewhere CASCADE")
        assert home_of(admin, "age") == "ag_catalog"
        assert admin.execute(owner).fetchone() == (admin.info.user,)


def test_a_schema_for_the_extension_needs_the_right_to_make_one(twin: Instance, empty_database: str) -> None:
    with (
        allow_listed(twin, "age"),
        stand_in(twin, "age", control="schema = ag_catalog", scripts={"1.0": ""}),
        new_role(twin, empty_database, member_of="azure_pg_admin") as member,
        pytest.raises(errors.InsufficientPrivilege, match="permission denied for database"),
    ):
        member.execute("CREATE EXTENSION age")
