"""The extensions that come with PostgreSQL: the server admin creates and uses those that Azure lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.errors import ParameterRefused
from azpg_runtime.home import Home
from azpg_runtime.postgres.bundled import find
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.integration.extensions import allow_listed, extensions, new_role, owner_of
from tests.unit.test_tools import tool

TABLE = tool("extensions_table")
Connection = psycopg.Connection[Any]
AVAILABLE = "SELECT name, default_version FROM pg_available_extensions"


@pytest.fixture
def admin(twin: Instance, empty_database: str) -> Iterator[Connection]:
    with twin.connect(empty_database, autocommit=True) as connection:
        yield connection


def create(connection: Connection, name: str, suffix: str = "") -> None:
    connection.execute(sql.SQL("CREATE EXTENSION {} {}").format(sql.Identifier(name), sql.SQL(suffix)))


def one(connection: Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.every_major
def test_the_admin_creates_everything_that_azure_lists_and_nothing_else(
    twin: Instance, admin: Connection
) -> None:
    there = dict(admin.execute(AVAILABLE).fetchall())
    if not twin.description.pg_config:
        assert there == TABLE.available(find(twin.description.major)), "docs/extensions.md is made of it"
    offered = sorted(there.keys() & twin.offer.extensions - {"plpgsql"})
    others = sorted(there.keys() - twin.offer.extensions)
    if twin.description.major == 18:  # with contrib
        assert len(there) == 44, "43 of the package and ours"
        assert set(others) == {
            *("autoinc", "file_fdw", "insert_username", "moddatetime", "pg_logicalinspect", "pg_surgery"),
            *("pg_walinspect", "refint", "seg", "tcn"),
        }
    with allow_listed(twin, ",".join(offered)):
        for name in offered:
            create(admin, name, "CASCADE")
            assert (extensions(admin)[name], owner_of(admin, name)) == (there[name], "azuresu")
            admin.execute(sql.SQL("ALTER EXTENSION {} UPDATE").format(sql.Identifier(name)))
        assert extensions(admin).keys() == {"plpgsql", *offered}
        for name in others:
            with pytest.raises(ParameterRefused, match=f"{name} cannot be allow-listed on this server"):
                twin.set_parameter("azure.extensions", name)
            with pytest.raises(errors.FeatureNotSupported, match="is not allow-listed"):
                create(admin, name)
        for name in offered:
            admin.execute(sql.SQL("DROP EXTENSION IF EXISTS {} CASCADE").format(sql.Identifier(name)))
        assert set(extensions(admin)) == {"plpgsql"}


def test_first_migrations_of_applications_run(twin: Instance, admin: Connection) -> None:
    with allow_listed(twin, "pg_trgm,citext,hstore,unaccent,btree_gin,btree_gist,ltree,intarray,tablefunc"):
        for name in ("pg_trgm", "citext", "hstore", "unaccent", "btree_gin", "btree_gist", "ltree"):
            create(admin, name)
        admin.execute("""
            CREATE TABLE people (id int PRIMARY KEY, email citext UNIQUE, tags hstore, name text, path ltree);
            CREATE INDEX ON people USING gin (name gin_trgm_ops);
            CREATE INDEX ON people USING gin (id, tags);
            CREATE INDEX ON people USING gist (path);
            INSERT INTO people VALUES (1, 'Ada@Example.org', 'a=>1', 'Ada Löwelace', 'a.b');
        """)
        assert one(admin, "SELECT id FROM people WHERE email = 'ada@example.ORG'") == 1
        assert one(admin, "SELECT tags -> 'a' FROM people") == "1"
        assert one(admin, "SELECT unaccent(name) FROM people") == "Ada Lowelace"
        assert one(admin, "SELECT name % 'Ada Lovelace' FROM people") is True


# pg_stat_statements


def test_statements_are_counted_as_on_azure(twin: Instance, admin: Connection) -> None:
    assert set(twin.status().not_loaded) == {"pg_cron"}
    with allow_listed(twin, "pg_stat_statements"):
        create(admin, "pg_stat_statements")
        admin.execute("SELECT 'counted by a test of contrib', count(*) FROM pg_class")
        counted = (
            "SELECT calls FROM pg_stat_statements WHERE query LIKE %s AND userid = current_user::regrole"
        )
        assert one(admin, counted, "SELECT $1, count(*) FROM pg_class") == 1
        with pytest.raises(errors.InsufficientPrivilege):
            admin.execute("SELECT pg_stat_statements_reset()")


def test_what_the_twin_itself_does_is_not_counted(home: Home) -> None:
    """Among it are the statements that set passwords' verifiers."""
    instance = Instance("counted", home=home)
    instance.up(Wishes(durable=False))
    instance.set_parameter("azure.extensions", "pg_stat_statements")
    instance.restart()
    instance.status()
    with instance.connect(autocommit=True) as connection:
        create(connection, "pg_stat_statements")
        others = "SELECT query FROM pg_stat_statements WHERE userid <> current_user::regrole"
        assert connection.execute(others).fetchall() == [('CREATE EXTENSION "pg_stat_statements"',)]
        shown = "SELECT query FROM pg_stat_statements WHERE query ~* 'scram-sha|password'"
        assert connection.execute(shown).fetchall() == []


def test_a_dump_of_what_was_granted_with_an_extension_has_no_grants(
    twin: Instance, admin: Connection
) -> None:
    with allow_listed(twin, "postgres_fdw,dblink,pg_buffercache"):
        for name in ("postgres_fdw", "dblink", "pg_buffercache"):
            create(admin, name)
        # What pg_dump compares with.
        changed = """
            SELECT fdwname FROM pg_foreign_data_wrapper AS w JOIN pg_init_privs AS i ON i.objoid = w.oid
            WHERE w.fdwacl IS DISTINCT FROM i.initprivs
            UNION ALL
            SELECT relname FROM pg_class AS c JOIN pg_init_privs AS i ON i.objoid = c.oid AND i.objsubid = 0
            WHERE c.relacl IS DISTINCT FROM i.initprivs AND relname LIKE 'pg_buffercache%'
        """
        assert admin.execute(changed).fetchall() == []


def test_the_buffer_cache_can_be_looked_at(twin: Instance, admin: Connection, empty_database: str) -> None:
    with allow_listed(twin, "pg_buffercache"):
        create(admin, "pg_buffercache")
        assert one(admin, "SELECT count(*) FROM pg_buffercache") > 0
        assert one(admin, "SELECT buffers_used FROM pg_buffercache_summary()") > 0
        for forbidden in ("pg_buffercache_evict_all()", "pg_buffercache_evict(1)"):
            with pytest.raises(errors.InsufficientPrivilege):
                admin.execute(f"SELECT {forbidden}")
        with new_role(twin, empty_database) as other, pytest.raises(errors.InsufficientPrivilege):
            other.execute("SELECT count(*) FROM pg_buffercache")


# To other databases


def settings(twin: Instance) -> dict[str, str]:
    """How the admin connects to its own server with the password, as libpq writes it."""
    return {
        key: str(value)
        for key, value in psycopg.conninfo.conninfo_to_dict(twin.dsn(with_password=True, tcp=True)).items()
        if key in {"host", "port", "user", "password"}
    }


def test_another_database_is_read_through_postgres_fdw(
    twin: Instance, admin: Connection, empty_database: str
) -> None:
    way = settings(twin)
    with allow_listed(twin, "postgres_fdw"):
        create(admin, "postgres_fdw")
        admin.execute("CREATE TABLE there AS SELECT 7 AS n")
        admin.execute(
            sql.SQL(
                "CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host {host}, port {port}, dbname {db});"
                "CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (user {user}, password {password});"
                "CREATE SCHEMA remote; IMPORT FOREIGN SCHEMA public LIMIT TO (there) FROM SERVER other INTO remote"
            ).format(
                db=sql.Literal(empty_database), **{key: sql.Literal(value) for key, value in way.items()}
            )
        )
        assert one(admin, "SELECT n FROM remote.there") == 7
        # The admin may let others make servers, too.
        with new_role(twin, empty_database) as role:
            make = f"CREATE SERVER theirs FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{way['host']}')"
            with pytest.raises(errors.InsufficientPrivilege, match="foreign-data wrapper postgres_fdw"):
                role.execute(make)
            name = one(role, "SELECT quote_ident(current_user)")
            admin.execute(f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {name}")
            role.execute(make)
            admin.execute(f"REVOKE USAGE ON FOREIGN DATA WRAPPER postgres_fdw FROM {name} CASCADE")


def test_another_database_is_read_through_dblink(
    twin: Instance, admin: Connection, empty_database: str
) -> None:
    target = psycopg.conninfo.make_conninfo(dbname=empty_database, **settings(twin))
    with allow_listed(twin, "dblink"):
        create(admin, "dblink")
        row = "SELECT * FROM dblink(%s, 'SELECT current_user::text, 8') AS t(who text, n int)"
        assert admin.execute(row, [target]).fetchone() == (admin.info.user, 8)
        admin.execute("CREATE SERVER named FOREIGN DATA WRAPPER dblink_fdw OPTIONS (dbname 'postgres')")


NO_PEER = (
    'cannot log in as "azuresu" without a password',
    # Where root runs azpg, the server's own user is nobody that azuresu is mapped to.
    'Peer authentication failed for user "azuresu"',
)


def ways_in(twin: Instance) -> list[str]:
    """Connection strings that would make the server's own user azuresu, or try to."""
    status = twin.status()
    socket = f"host={status.socket_dir} port={status.port} user=azuresu dbname=azure_maintenance"
    network = f"host=127.0.0.1 port={status.port} user=azuresu dbname=azure_maintenance"
    library = "options='-c session_preload_libraries=/nonexistent/evil'"
    return [
        *(
            f"{way}{password}{extra}"
            for way in (socket, network)
            for password in ("", " password=x")
            for extra in ("", " replication=database", f" {library}")
        ),
        f"{socket} passfile={twin.home.root / 'passfile'}",
        f"{socket} require_auth=none password=x",
    ]


def test_the_admin_does_not_become_superuser_through_dblink(twin: Instance, admin: Connection) -> None:
    with allow_listed(twin, "dblink"):
        create(admin, "dblink")
        for way in ways_in(twin):
            with pytest.raises(psycopg.Error) as caught:
                admin.execute("SELECT * FROM dblink(%s, 'SELECT current_user::text') AS t(u text)", [way])
            said = f"{caught.value.diag.message_primary} {caught.value.diag.message_detail}"
            # The server was not even reached as azuresu: a session would have looked for the library.
            assert "evil" not in said, way
            expected = (
                *NO_PEER,
                "Non-superusers must provide a password in the connection string",
                "pg_hba.conf rejects",
            )
            assert any(words in said for words in expected), (way, said)
        for function in ("dblink_connect_u('x')", "dblink_connect_u('c', 'x')"):
            with pytest.raises(errors.InsufficientPrivilege, match="dblink_connect_u"):
                admin.execute(f"SELECT {function}")


def test_nor_on_another_server_of_this_machine(twin: Instance, admin: Connection, home: Home) -> None:
    """An ordinary user's run as the same user."""
    other = Instance("other", home=home)
    other.up(Wishes(durable=False))
    with allow_listed(twin, "dblink"):
        create(admin, "dblink")
        way = ways_in(other)[5]
        assert "password=x options=" in way
        with pytest.raises(psycopg.Error) as caught:
            admin.execute("SELECT * FROM dblink(%s, 'SELECT 1') AS t(n int)", [way])
        assert any(words in str(caught.value) for words in NO_PEER), caught.value
    with other.superuser() as superuser:  # who is no server
        assert superuser.execute("SELECT current_user").fetchone() == ("azuresu",)


def test_the_admin_does_not_become_superuser_through_postgres_fdw(twin: Instance, admin: Connection) -> None:
    status = twin.status()
    with allow_listed(twin, "postgres_fdw"):
        create(admin, "postgres_fdw")
        admin.execute(f"""
            CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (
                host '{status.socket_dir}', port '{status.port}', dbname 'azure_maintenance',
                options '-c session_preload_libraries=/nonexistent/evil');
            CREATE FOREIGN TABLE roles (rolname name) SERVER itself OPTIONS (schema_name 'pg_catalog', table_name 'pg_roles');
            CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user 'azuresu', password 'x');
        """)
        with pytest.raises(psycopg.Error, match="|".join(NO_PEER)):
            admin.execute("SELECT * FROM roles")
        admin.execute("DROP USER MAPPING FOR CURRENT_USER SERVER itself")
        admin.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user 'azuresu')")
        with pytest.raises(psycopg.Error, match="password or GSSAPI delegated credentials required"):
            admin.execute("SELECT * FROM roles")
        with pytest.raises(errors.InsufficientPrivilege, match="password_required=false is superuser-only"):
            admin.execute(
                "ALTER USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (ADD password_required 'false')"
            )


def test_the_servers_files_stay_closed(twin: Instance, admin: Connection) -> None:
    """None of the extensions opens them, nor what lies beside them as a library."""
    offered = sorted(dict(admin.execute(AVAILABLE).fetchall()).keys() & twin.offer.extensions - {"plpgsql"})
    with allow_listed(twin, ",".join(offered)):
        for name in offered:
            create(admin, name, "CASCADE")
        data = str(twin.home.data)
        for statement in (
            "SELECT pg_read_file('PG_VERSION')",
            f"COPY (SELECT 1) TO '{data}/x'",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "CREATE FOREIGN DATA WRAPPER mine HANDLER postgres_fdw_handler",
            "LOAD 'file_fdw'",
            "LOAD 'basebackup_to_shell'",
            "CREATE FUNCTION evil() RETURNS void LANGUAGE c AS 'file_fdw', 'file_fdw_handler'",
            "SELECT get_raw_page('pg_authid', 0)",
            "SELECT pgstatindex('pg_authid_oid_index')",
        ):
            if "pgstat" in statement:  # numbers, which pg_stat_scan_tables may see
                admin.execute(statement)
                continue
            with pytest.raises(psycopg.Error) as caught:
                admin.execute(statement)
            assert caught.value.sqlstate == "42501", statement


# The prepared server


def test_what_is_allow_listed_and_lacking_is_said(home: Home) -> None:
    instance = Instance("lacking", home=home)
    instance.up(Wishes(durable=False))
    reason = (
        "this PostgreSQL 18 lacks it; `azpg up NAME --pg-config PATH` takes one that has it, "
        "and `azpg help extensions` says what each has"
    )
    found = instance.set_parameter("azure.extensions", "pgcrypto,pg_trgm,vector")
    assert found.remarks["pgcrypto"] == reason
    assert "pg_trgm" not in found.remarks
    status = instance.status()
    assert status.missing_extensions == {"pgcrypto": reason}
    assert status.not_loaded == {"pg_cron": f"not loaded: {reason}"}
