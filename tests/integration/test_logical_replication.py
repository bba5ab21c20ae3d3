"""Azure's page on logical replication, step by step, and what a subscription must not become."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from azpg_runtime.home import Home
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.postgres.roles import MAINTENANCE
from azpg_runtime.wait import wait_for
from tests.conftest import new_home, remove_home
from tests.support.servers import Server

pytestmark = pytest.mark.every_major
Connection = psycopg.Connection[Any]
TABLE = "CREATE TABLE basic (id INTEGER NOT NULL PRIMARY KEY, a TEXT)"
PASSWORD = "Replicat3d"


@pytest.fixture(scope="module")
def servers(postgres_server: Server) -> Iterator[tuple[Instance, Instance]]:
    """Two servers with the parameters that the page asks for, publisher and subscriber."""
    home: Home = new_home()
    try:
        twins = Instance("publisher", home=home), Instance("subscriber", home=home)
        for twin in twins:
            twin.up(Wishes(**postgres_server.wishes, durable=False))
            assert twin.set_parameter("wal_level", "logical").is_config_pending_restart
            twin.set_parameter("max_worker_processes", "16")
            twin.restart()
        yield twins
    finally:
        remove_home(home)


@pytest.fixture
def connect(servers: tuple[Instance, Instance]) -> Iterator[Callable[..., Connection]]:
    """Opens the admin's connections to databases, which are new and which are dropped afterwards."""
    opened: list[tuple[Instance, Connection]] = []

    def open_(twin: Instance, database: str) -> Connection:
        with twin.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        opened.append((twin, twin.connect(database, autocommit=True)))
        return opened[-1][1]

    yield open_
    for twin, connection in reversed(opened):
        for (name,) in connection.execute(
            "SELECT subname FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid"
            " WHERE datname = current_database()"
        ).fetchall():
            disable(connection, name)
        name = connection.info.dbname
        connection.close()
        with twin.superuser() as superuser:
            for (slot,) in superuser.execute(
                "SELECT slot_name FROM pg_replication_slots WHERE database = %s", [name]
            ).fetchall():
                assert wait_for(lambda slot=slot: not active(superuser, slot), timeout=30)
                superuser.execute("SELECT pg_drop_replication_slot(%s)", [slot])
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def disable(connection: Connection, name: str) -> None:
    """Drops a subscription and leaves its slot, which goes with the publisher's database."""
    subscription = sql.Identifier(name)
    for statement in (
        "ALTER SUBSCRIPTION {} DISABLE",
        "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
        "DROP SUBSCRIPTION {}",
    ):
        connection.execute(sql.SQL(statement).format(subscription))


def active(superuser: Connection, slot: str) -> bool:
    row = superuser.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchone()
    return row is not None and bool(row[0])


def replication_user(publisher: Connection) -> dict[str, Any]:
    """A user beside the admin, as the page advises, and how to connect as it."""
    publisher.execute("DROP ROLE IF EXISTS rep_user")
    publisher.execute(f"CREATE ROLE rep_user LOGIN PASSWORD '{PASSWORD}'")
    publisher.execute("ALTER ROLE rep_user REPLICATION LOGIN")
    publisher.execute("GRANT SELECT ON basic TO rep_user")
    info = publisher.info
    return {
        "host": info.host,
        "port": info.port,
        "user": "rep_user",
        "dbname": info.dbname,
        "password": PASSWORD,
    }


def subscribed(connection: Connection, statement: sql.Composable, *, refused: str = "") -> bool:
    """Runs a statement on subscriptions, which is `refused` with these words, if any.

    False before 16: there only superusers may; the role that Azure grants came then.
    """
    if connection.info.server_version < 160000:
        refused = "must be superuser to create subscriptions"
    if not refused:
        connection.execute(statement)
        return True
    with pytest.raises(psycopg.Error, match=refused):
        connection.execute(statement)
    return connection.info.server_version >= 160000


class Log:
    """What a server writes from now on."""

    def __init__(self, twin: Instance) -> None:
        self._path = twin.home.postgres_log
        self._from = len(self._path.read_text())

    def says(self, text: str) -> bool:
        """Waits for it."""
        if wait_for(lambda: text in self._path.read_text()[self._from :], timeout=30):
            return True
        raise AssertionError(f"{text!r} is not in: {self._path.read_text()[self._from :]}")


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM basic ORDER BY id").fetchall()


def test_the_whole_page_between_two_servers(
    servers: tuple[Instance, Instance], connect: Callable[..., Connection]
) -> None:
    publisher, subscriber = connect(servers[0], "source"), connect(servers[1], "target")
    assert publisher.execute("SHOW wal_level").fetchone() == ("logical",)
    for connection in (publisher, subscriber):
        admin = sql.Identifier(connection.info.user)
        connection.execute(sql.SQL("ALTER ROLE {} WITH REPLICATION").format(admin))
    publisher.execute(TABLE)
    publisher.execute("INSERT INTO basic VALUES (1, 'apple'), (2, 'banana')")
    publisher.execute("CREATE PUBLICATION pub FOR TABLE basic")
    subscriber.execute(TABLE)
    subscribe = sql.SQL("CREATE SUBSCRIPTION sub CONNECTION {} PUBLICATION pub").format(
        sql.Literal(make_conninfo(**replication_user(publisher)))
    )
    if not subscribed(subscriber, subscribe):
        return
    assert wait_for(lambda: rows(subscriber) == [(1, "apple"), (2, "banana")], timeout=30)
    publisher.execute("INSERT INTO basic VALUES (3, 'mango')")
    publisher.execute("UPDATE basic SET a = 'pear' WHERE id = 1")
    publisher.execute("DELETE FROM basic WHERE id = 2")
    assert wait_for(lambda: rows(subscriber) == [(1, "pear"), (3, "mango")], timeout=30)
    # The page's last resort; Microsoft's page on access management says what a server answers today.
    with pytest.raises(
        errors.InsufficientPrivilege, match='permission denied to alter restricted role "azure_pg_admin"'
    ):
        subscriber.execute("ALTER ROLE azure_pg_admin login")
    subscriber.execute("DROP SUBSCRIPTION sub")
    assert publisher.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []


def test_between_databases_of_one_server(
    servers: tuple[Instance, Instance], connect: Callable[..., Connection]
) -> None:
    publisher, subscriber = connect(servers[0], "source"), connect(servers[0], "target")
    for connection in (publisher, subscriber):
        connection.execute(TABLE)
    publisher.execute("CREATE PUBLICATION pub FOR TABLE basic")
    publisher.execute("SELECT pg_create_logical_replication_slot('myslot', 'pgoutput')")
    subscribe = sql.SQL(
        "CREATE SUBSCRIPTION sub CONNECTION {} PUBLICATION pub WITH (create_slot = false, slot_name = 'myslot')"
    ).format(sql.Literal(make_conninfo(**replication_user(publisher))))
    if not subscribed(subscriber, subscribe):
        return
    publisher.execute("INSERT INTO basic SELECT 3, 'mango'")
    assert wait_for(lambda: rows(subscriber) == [(3, "mango")], timeout=30)


@pytest.mark.parametrize("plugin", ["wal2json", "test_decoding"])
def test_a_decoding_plugin_that_is_not_there(
    servers: tuple[Instance, Instance], connect: Callable[..., Connection], plugin: str
) -> None:
    publisher = connect(servers[0], "source")
    make = "SELECT * FROM pg_create_logical_replication_slot('test_slot', %s)"
    if Installation.open(servers[0].home.server.resolve()).has_library(plugin):
        publisher.execute(make, [plugin])
        return
    with pytest.raises(errors.FeatureNotSupported) as caught:
        publisher.execute(make, [plugin])
    said = caught.value.diag
    assert said.message_primary == f'this local server does not have the logical decoding plug-in "{plugin}"'
    assert said.message_hint == (
        '"pgoutput" is there, and "azpg up NAME --pg-config PATH" makes a server of a PostgreSQL that has '
        "others."
    )
    assert publisher.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == []
    if plugin == "wal2json":  # nor is what stands in for it taken for a library to preload
        servers[0].set_parameter("shared_preload_libraries", plugin)
        assert plugin in servers[0].status().not_loaded
        servers[0].reset_parameter("shared_preload_libraries")


# What a subscription must not become: its connection is made by the server itself, whose own user may be
# azuresu through the Unix socket, there and on its neighbours, without a password.


def by_the_socket(twin: Instance, database: str, **other: str) -> str:
    return make_conninfo(
        host=str(twin.home.postgres_sockets),
        port=twin.description.port,
        user="azuresu",
        dbname=database,
        **other,
    )


SUBSCRIBE = sql.SQL("CREATE SUBSCRIPTION s CONNECTION {} PUBLICATION pub WITH ({})")
# Where root runs azpg, the server's own user is nobody that azuresu is mapped to.
NO_PEER = (
    'Peer authentication failed for user "azuresu"'
    if os.geteuid() == 0
    else 'a PostgreSQL server cannot log in as "azuresu" without a password'
)


@pytest.mark.parametrize("database", ["source", MAINTENANCE])
@pytest.mark.parametrize("other", [0, 1], ids=["itself", "its neighbour"])
def test_a_subscription_does_not_lead_to_the_superuser(
    servers: tuple[Instance, Instance], connect: Callable[..., Connection], database: str, other: int
) -> None:
    admin, target = connect(servers[0], "source"), servers[other]
    if other:
        connect(target, "source")
    log = Log(target)
    options = sql.SQL("create_slot = false, slot_name = 'own', copy_data = false")
    without, guessed = (
        SUBSCRIBE.format(sql.Literal(by_the_socket(target, database, **password)), options)
        for password in ({}, {"password": "guess"})
    )
    if not subscribed(admin, without, refused="password is required"):
        return
    with pytest.raises(psycopg.Error, match=NO_PEER):
        admin.execute(guessed)
    assert log.says(NO_PEER)


def test_nor_does_its_worker(servers: tuple[Instance, Instance], connect: Callable[..., Connection]) -> None:
    """A subscription that is made without connecting is the worker's to find wrong."""
    admin, log = connect(servers[0], "source"), Log(servers[0])
    target = sql.Literal(by_the_socket(servers[0], "source", password="guess"))
    unconnected = "connect = false, slot_name = 'own'"
    for statement, said in (
        (SUBSCRIBE.format(target, sql.SQL(unconnected)), ""),
        (
            SUBSCRIBE.format(target, sql.SQL(f"{unconnected}, password_required = false")),
            "password_required=false is superuser-only",
        ),
        (
            sql.SQL("ALTER SUBSCRIPTION s SET (password_required = false)"),
            "password_required=false is superuser-only",
        ),
        (sql.SQL("ALTER SUBSCRIPTION s OWNER TO azuresu"), 'must be able to SET ROLE "azuresu"'),
        (
            sql.SQL("ALTER SUBSCRIPTION s CONNECTION {}").format(
                sql.Literal(by_the_socket(servers[0], "source"))
            ),
            "password is required",
        ),
    ):
        if not subscribed(admin, statement, refused=said):
            return
    admin.execute("ALTER SUBSCRIPTION s ENABLE")
    assert log.says(NO_PEER)
    disable(admin, "s")


def test_a_subscription_does_not_write_what_is_the_superusers(
    servers: tuple[Instance, Instance], connect: Callable[..., Connection]
) -> None:
    """Its worker has the rights of its owner, who must be able to become the owner of each table."""
    publisher, subscriber = connect(servers[0], "source"), connect(servers[1], "target")
    publisher.execute(TABLE)
    publisher.execute("INSERT INTO basic VALUES (1, 'theirs')")
    publisher.execute("CREATE PUBLICATION pub FOR TABLE basic")
    with servers[1].superuser("target") as superuser:
        superuser.execute(TABLE.replace("basic", "public.basic"))
        superuser.execute("GRANT ALL ON public.basic TO PUBLIC")
        log = Log(servers[1])
        subscribe = sql.SQL("CREATE SUBSCRIPTION sub CONNECTION {} PUBLICATION pub").format(
            sql.Literal(make_conninfo(**replication_user(publisher)))
        )
        if not subscribed(subscriber, subscribe):
            return
        assert log.says('cannot SET ROLE to "azuresu"')
        assert superuser.execute("SELECT count(*) FROM public.basic").fetchone() == (0,)


def test_who_may_subscribe(servers: tuple[Instance, Instance], connect: Callable[..., Connection]) -> None:
    admin = connect(servers[0], "source")
    admin.execute("DROP ROLE IF EXISTS somebody")
    admin.execute("CREATE ROLE somebody")
    with servers[0].superuser("source") as superuser:
        superuser.execute("SET SESSION AUTHORIZATION somebody")
        with pytest.raises(errors.InsufficientPrivilege, match="create subscription"):
            superuser.execute(
                "CREATE SUBSCRIPTION s CONNECTION 'password=x' PUBLICATION p WITH (connect = false)"
            )
    admin.execute("DROP ROLE somebody")
