"""Logins with access tokens: psycopg through the TLS front to a real PostgreSQL, and everything that is refused."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_runtime.access_tokens import DATABASE, LONGEST
from azpg_runtime.arm.identity.identities import Identities, Identity
from azpg_runtime.arm.identity.tokens import MANAGEMENT, Issuer
from azpg_runtime.errors import EntraError, InstanceNotRunning
from azpg_runtime.postgres.entra import Access, Principal, PrincipalType
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for
from tests.conftest import new_home, remove_home
from tests.integration.test_front import ca, connect, exchange, front, password, startup, value
from tests.support.servers import Server

PATIENCE = 30
ALICE = "alice@contoso.com"
APPLICATION = 'the "app", it\'s +all'
"""A name with everything in it that PostgreSQL's files of rules give a meaning to."""


class Site:
    """An instance, and a directory whose tokens it takes."""

    def __init__(self, instance: Instance) -> None:
        folder = instance.home.home.root / "arm" / "identity"
        self.instance = instance
        self.identities = Identities(folder)
        self.issuer = Issuer(folder, self.identities)
        self.alice = self.identities.add_managed("alice", "/users/alice")
        self.application, _ = self.identities.add_application("app")

    def principals(self) -> list[Principal]:
        return [
            Principal(self.alice.object_id, ALICE, PrincipalType.USER),
            Principal(self.application.object_id, APPLICATION, PrincipalType.SERVICE_PRINCIPAL),
        ]

    def token(
        self, identity: Identity | None = None, *, audience: str = DATABASE, lifetime: float = 600
    ) -> str:
        return self.issuer.issue(identity or self.alice, audience, lifetime)

    def login(self, user: str = ALICE, token: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        defaults = {"sslmode": "require", "user": user, "passfile": "/nonexistent"}
        secret = self.token() if token is None else token
        return connect(self.instance, **(defaults | {"password": secret} | options))

    def refusal(self, user: str = ALICE, token: str | None = None, **options: Any) -> str:
        """What a login that fails is told; never the token."""
        secret = self.token() if token is None else token
        with pytest.raises(psycopg.OperationalError) as refused:
            self.login(user, secret, **options)
        said = str(refused.value)
        if len(secret) > 20:
            assert secret not in said
            assert secret not in self.instance.home.tls_log.read_text()
            assert secret not in self.instance.home.postgres_log.read_text()
        return said


@pytest.fixture(scope="module")
def site(postgres_server: Server) -> Iterator[Site]:
    home = new_home()
    instance = Instance("entra", home=home)
    instance.up(Wishes(durable=False, **postgres_server.wishes))
    made = Site(instance)
    instance.entra.allow(password=True, trust=made.issuer.trust)
    for principal in made.principals():
        instance.entra.add(principal)
    yield made
    remove_home(home)


# Logins


@pytest.mark.every_major
@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_token_is_the_password(site: Site, mode: str) -> None:
    trust = {"sslrootcert": ca(site.instance)} if mode == "verify-full" else {}
    with site.login(sslmode=mode, **trust) as connection:
        assert value(connection, "SELECT session_user") == ALICE
        assert value(connection, "SELECT pg_has_role('azure_pg_admin', 'MEMBER')")
        assert not value(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = session_user")


@pytest.mark.every_major
def test_an_administrator_can_do_what_one_can(site: Site) -> None:
    with site.login() as connection:
        connection.execute("CREATE DATABASE theirs")
        connection.execute("CREATE ROLE theirs PASSWORD 'p' LOGIN")
        connection.execute("DROP DATABASE theirs")
        connection.execute("DROP ROLE theirs")


def test_tls_without_asking(site: Site) -> None:
    with site.login(sslnegotiation="direct") as connection:
        assert value(connection, "SELECT session_user") == ALICE


def test_a_name_that_means_much_means_itself(site: Site) -> None:
    with site.login(APPLICATION, site.token(site.application)) as connection:
        assert value(connection, "SELECT session_user") == APPLICATION


def test_an_audience_with_a_slash(site: Site) -> None:
    with site.login(token=site.token(audience=f"{DATABASE}/")) as connection:
        assert value(connection, "SELECT 1") == 1


def test_options_reach_postgresql(site: Site) -> None:
    with site.login(dbname="template1", options="-c work_mem=7MB", application_name="x y") as connection:
        assert value(connection, "SELECT current_database()") == "template1"
        assert value(connection, "SHOW work_mem") == "7MB"
        assert value(connection, "SHOW application_name") == "x y"


@pytest.mark.every_major
def test_newer_protocol_versions_are_negotiated(site: Site) -> None:
    with site.login(max_protocol_version="latest") as connection:
        assert value(connection, "SELECT 1") == 1


def test_an_expired_token_does_not_end_a_session(site: Site) -> None:
    """Tokens are checked at login only, as on Azure."""
    with site.login(token=site.token(lifetime=2)) as connection:
        token = site.token(lifetime=-1)
        assert "expired" in site.refusal(token=token)
        assert value(connection, "SELECT 1") == 1


def test_groups_log_in_their_members(site: Site) -> None:
    group = "99999999-1111-2222-3333-444444444444"
    site.instance.entra.add(Principal(group, "analysts", PrincipalType.GROUP))
    member = site.issuer.issue(site.alice, DATABASE, 600, groups=["other", group])
    with site.login("analysts", member) as connection:
        assert value(connection, "SELECT session_user") == "analysts"
    assert "valid oid claim" in site.refusal(
        "analysts", site.issuer.issue(site.alice, DATABASE, 600, groups=["other"])
    )
    assert site.instance.entra.remove(group)


def test_a_group_claim_is_no_way_to_be_a_user(site: Site) -> None:
    token = site.issuer.issue(site.alice, DATABASE, 600, groups=[site.application.object_id])
    assert "valid oid claim" in site.refusal(APPLICATION, token)


def test_many_at_once(site: Site) -> None:
    barrier = threading.Barrier(40)
    names: list[str] = []

    def work() -> None:
        with site.login() as connection:
            barrier.wait(PATIENCE)
            names.append(value(connection, "SELECT session_user"))
            barrier.wait(PATIENCE)

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [ALICE] * 40


@pytest.mark.parametrize("how", ["cancel", "cancel_safe"])
def test_cancelling(site: Site, how: str) -> None:
    with site.login() as connection, connect(site.instance, direct=True) as observer:
        pid = connection.info.backend_pid
        query = f"SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"

        def cancel() -> None:
            assert wait_for(lambda: observer.execute(query).fetchone() is not None, timeout=PATIENCE)
            getattr(connection, how)()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        canceller.join()


def test_passwords_still_work_on_both_ports(site: Site) -> None:
    for options in ({"sslmode": "require"}, {"sslmode": "disable"}, {"direct": True}):
        with connect(site.instance, **options) as connection:
            assert value(connection, "SELECT session_user") == "pgadmin"


# Refusals


def test_expired(site: Site) -> None:
    said = site.refusal(token=site.token(lifetime=-1))
    assert "FATAL:  The access token has expired." in said
    assert "refused a login: 28P01 The access token has expired." in site.instance.home.tls_log.read_text()
    assert "Acquire a new token and retry." in said


def test_wrong_audience(site: Site) -> None:
    said = site.refusal(token=site.token(audience=MANAGEMENT[0]))
    assert "FATAL:  The access token does not have a valid audience claim." in said
    assert f'Acquire a new token for the resource "{DATABASE}".' in said


def test_wrong_principal(site: Site) -> None:
    said = site.refusal(token=site.token(site.application))
    assert f'FATAL:  The access token doesn\'t have a valid oid claim for role "{ALICE}".' in said
    assert f"DETAIL:  The role is the user {site.alice.object_id}." in said
    assert "HINT:  Acquire a new token as that principal and retry." in said


def test_another_tenant(site: Site, tmp_path: Any) -> None:
    other = Identities(tmp_path)
    said = site.refusal(token=Issuer(tmp_path, other).issue(site.alice, DATABASE, 600))
    assert "FATAL:  The access token is not signed by the tenant that this server trusts." in said


def test_garbage(site: Site) -> None:
    assert "FATAL:  The access token cannot be read." in site.refusal(token="a.b.c" * 10)
    assert "FATAL:  The access token cannot be read." in site.refusal(token=password(site.instance))


def test_too_long(site: Site) -> None:
    for length in (LONGEST + 1, 3_000_000):
        said = site.refusal(token="x" * length)
        assert f"FATAL:  The access token is longer than {LONGEST} characters." in said
    assert "cannot be read" in site.refusal(token="x" * LONGEST)


def test_an_empty_password(site: Site) -> None:
    password_message = b"p" + struct.pack("!I", 5) + b"\0"
    said = exchange(site.instance, startup(user=ALICE), password_message, alpn=["postgresql"])
    assert b"\0C28P01\0Mempty password returned by client\0" in said
    assert b"\0HThe password is an access token.\0" in said


@pytest.mark.parametrize("mode", ["disable", "allow"])
def test_a_token_is_not_asked_for_in_plain(site: Site, mode: str) -> None:
    if mode == "allow":  # which tries TLS when plain is refused
        with site.login(sslmode=mode) as connection:
            assert connection.pgconn.ssl_in_use
        return
    said = site.refusal(sslmode=mode)
    assert f'FATAL:  role "{ALICE}" logs in with an access token, which needs an encrypted connection' in said
    assert "HINT:  Connect with sslmode=require." in said


def test_what_is_no_password_message(site: Site) -> None:
    said = exchange(site.instance, startup(user=ALICE), b"Q\0\0\0\x0dSELECT 1\0", alpn=["postgresql"])
    assert said.startswith(b"R\0\0\0\x08\0\0\0\x03E")
    assert b"\0C08P01\0Mexpected password response, got message type 81\0" in said
    for wrong in (b"p\0\0\0\x04", b"p\0\0\0\0", b"p\0\0\0\x07a\0b", b"p\0\0\0\x08a\0b\0"):
        said = exchange(site.instance, startup(user=ALICE), wrong, alpn=["postgresql"])
        assert b"\0C08P01\0Minvalid password packet size\0" in said


def test_a_second_user_in_the_packet_is_nobody_elses_way_in(site: Site) -> None:
    """PostgreSQL takes the last `user`, and so does the front; it passes on only that one."""
    token = site.token().encode()
    both = b"user\0" + APPLICATION.encode() + b"\0user\0" + ALICE.encode() + b"\0\0"
    packet = struct.pack("!II", 8 + len(both), 3 << 16) + both
    query = b"SELECT session_user\0"
    said = exchange(
        site.instance,
        packet,
        b"p" + struct.pack("!I", 5 + len(token)) + token + b"\0",
        b"Q" + struct.pack("!I", 4 + len(query)) + query + b"X\0\0\0\4",
        alpn=["postgresql"],
    )
    assert ALICE.encode() in said.split(b"session_user")[-1]
    both = b"user\0" + ALICE.encode() + b"\0user\0" + APPLICATION.encode() + b"\0\0"
    packet = struct.pack("!II", 8 + len(both), 3 << 16) + both
    said = exchange(
        site.instance, packet, b"p" + struct.pack("!I", 5 + len(token)) + token + b"\0", alpn=["postgresql"]
    )
    assert b"valid oid claim" in said


# Nobody gains anything by the way in


@pytest.mark.every_major
def test_no_password_opens_a_principals_role(site: Site) -> None:
    """Not even one that an administrator gives it: the plain port refuses the role whatever is said."""
    with site.instance.superuser() as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD 'known'").format(sql.Identifier(ALICE)))
    try:
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
            connect(site.instance, direct=True, user=ALICE, password="known")
        assert "cannot be read" in site.refusal(token="known")
    finally:
        with site.instance.superuser() as connection:
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD NULL").format(sql.Identifier(ALICE)))


def test_a_token_is_no_password_on_the_plain_port(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"):
        connect(site.instance, direct=True, user=ALICE, password=site.token())


def test_a_token_copies_no_cluster(site: Site) -> None:
    """Physical replication is refused as for everybody; logical replication is a connection to a database."""
    assert "no pg_hba.conf entry for replication connection" in site.refusal(replication="true")
    with site.login(replication="database") as connection:
        assert connection.pgconn.exec_(b"IDENTIFY_SYSTEM").ntuples == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_cannot_use_the_socket(site: Site) -> None:
    status = site.instance.status()
    done = subprocess.run(
        [
            *(site.instance.program("psql"), "-h", status.socket_dir, "-p", str(status.port)),
            *("-U", ALICE, "-d", "postgres", "-c", "SELECT 1"),
        ],
        check=False,
        cwd="/",
        user="nobody",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert f'Peer authentication failed for user "{ALICE}"' in done.stderr


# Administration


def test_what_is_listed_is_kept(site: Site) -> None:
    assert site.instance.entra.administrators() == site.principals()
    assert (
        Instance(site.instance.name, home=site.instance.home.home).entra.administrators() == site.principals()
    )


def test_adding_again_changes_nothing(site: Site) -> None:
    site.instance.entra.add(site.principals()[0])
    assert {each.name for each in site.instance.entra.administrators()} == {ALICE, APPLICATION}
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1


@pytest.mark.every_major
def test_removing_ends_sessions_and_drops_the_role(site: Site) -> None:
    bob = site.identities.add_managed("bob", "/users/bob")
    site.instance.entra.add(Principal(bob.object_id, "bob", PrincipalType.USER))
    with site.login("bob", site.token(bob)) as connection:
        assert site.instance.entra.remove(bob.object_id)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not site.instance.entra.remove(bob.object_id)
    said = site.refusal("bob", site.token(bob))
    assert "password authentication failed" in said
    with connect(site.instance, direct=True) as observer:
        assert value(observer, "SELECT count(*) FROM pg_roles WHERE rolname = 'bob'") == 0


def test_what_is_done_is_in_force_when_it_is_said_to_be(site: Site) -> None:
    """Whoever adds a principal does not have to wait."""
    for number in range(8):
        principal = Principal(site.identities.default.object_id, f"quick{number}", PrincipalType.USER)
        site.instance.entra.add(principal)
        with site.login(principal.name, site.token(site.identities.default)) as connection:
            assert value(connection, "SELECT session_user") == principal.name
        assert site.instance.entra.remove(principal.object_id)


@pytest.mark.every_major
def test_a_role_that_owns_something_stays_without_login_and_may_come_back(site: Site) -> None:
    eve = site.identities.add_managed("eve", "/users/eve")
    principal = Principal(eve.object_id, "eve", PrincipalType.USER)
    site.instance.entra.add(principal)
    with site.login("eve", site.token(eve)) as connection:
        connection.execute("CREATE DATABASE eves")
    assert site.instance.entra.remove(eve.object_id)
    with connect(site.instance, direct=True) as observer:
        assert value(observer, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'eve'") is False
    site.refusal("eve", site.token(eve))
    site.instance.entra.add(principal)
    with site.login("eve", site.token(eve)) as connection:
        connection.execute("DROP DATABASE eves")
    assert site.instance.entra.remove(eve.object_id)
    assert site.instance.entra.access().former == ()


@pytest.mark.every_major
def test_names_that_are_taken(site: Site) -> None:
    for name in ("pgadmin", "local_role"):
        if name == "local_role":
            with connect(site.instance, direct=True) as connection:
                connection.execute("CREATE ROLE local_role")
        with pytest.raises(
            EntraError, match=f"there is a role '{name}' that is no Microsoft Entra principal"
        ):
            site.instance.entra.add(Principal("o", name, PrincipalType.USER))
    with connect(site.instance, direct=True) as connection:
        connection.execute("DROP ROLE local_role")
    for principal in (
        Principal("o", ALICE, PrincipalType.USER),
        Principal(site.alice.object_id, "another", PrincipalType.USER),
    ):
        with pytest.raises(EntraError, match=f"the administrator '{ALICE}' has the object id"):
            site.instance.entra.add(principal)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "printable"),
        (" a", "no space first or last"),
        ("a\nb", "printable"),
        ("\ud800", "printable"),
        ("ü" * 32, "at most 63 bytes"),
        ("azure_pg_admin", "reserved"),
        ("pg_x", "reserved"),
        ("azuresu", "reserved"),
        ("/^.*$", "takes what begins with / for a pattern"),
    ],
)
def test_names_that_cannot_be(site: Site, name: str, problem: str) -> None:
    with pytest.raises(EntraError, match=problem) as refused:
        site.instance.entra.add(Principal("o", name, PrincipalType.USER))
    assert "Give the principal another display name." in str(refused.value)


def test_passwords_can_be_disabled(site: Site) -> None:
    trust = site.issuer.trust
    site.instance.entra.allow(password=False, trust=trust)
    try:
        for mode in ("require", "disable"):
            with pytest.raises(psycopg.OperationalError) as refused:
                connect(site.instance, sslmode=mode)
            assert "FATAL:  password authentication is disabled on this server" in str(refused.value)
            assert "HINT:  Log in as a Microsoft Entra principal" in str(refused.value)
        odd = b"user\0pgadmin\0x"  # PostgreSQL takes any last byte
        said = exchange(site.instance, struct.pack("!II", 8 + len(odd), 3 << 16) + odd, alpn=["postgresql"])
        assert b"password authentication is disabled" in said
        with site.login() as connection:
            assert value(connection, "SELECT 1") == 1
        with connect(site.instance, direct=True) as connection:
            assert value(connection, "SELECT 1") == 1
    finally:
        site.instance.entra.allow(password=True, trust=trust)
    with connect(site.instance, sslmode="require") as connection:
        assert value(connection, "SELECT 1") == 1


def test_entra_authentication_can_be_disabled(site: Site) -> None:
    site.instance.entra.allow(password=True, trust=None)
    try:
        said = site.refusal()
        assert f'FATAL:  role "{ALICE}" needs Microsoft Entra authentication, which is not enabled' in said
        assert "HINT:  Log in as a role that has a password." in said
        with pytest.raises(
            EntraError, match=r"not enabled on this server\. Enable it \(authConfig\.activeDirectoryAuth\)"
        ):
            site.instance.entra.add(Principal("o", "x", PrincipalType.USER))
    finally:
        site.instance.entra.allow(password=True, trust=site.issuer.trust)


def test_some_way_in_there_has_to_be(site: Site) -> None:
    with pytest.raises(EntraError, match="without any way to log in"):
        site.instance.entra.allow(password=False, trust=None)
    assert site.instance.entra.access().password


def test_a_damaged_file_lets_nobody_in(site: Site) -> None:
    path = site.instance.home.access
    good = path.read_text()
    path.write_text(good[:-20])
    try:
        for attempt in (site.refusal, lambda: site.refusal("pgadmin", password(site.instance))):
            said = attempt()
            assert "FATAL:  it cannot be read who may log in through TLS" in said
            assert "HINT:  The log of the TLS front says why." in said
        assert "access.json is damaged" in site.instance.home.tls_log.read_text()
        with pytest.raises(EntraError, match=r"is damaged: JSONDecodeError\. Remove it"):
            site.instance.entra.administrators()
        with pytest.raises(EntraError, match="is damaged"):
            site.instance.restart()
    finally:
        path.write_text(good)
        site.instance.up(Wishes(durable=False))
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_server_that_is_down_is_said_and_a_restart_keeps_all(site: Site) -> None:
    site.instance.restart()
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1
    site.instance.down()
    try:
        with pytest.raises(InstanceNotRunning):
            site.instance.entra.add(Principal("o", "x", PrincipalType.USER))
        with pytest.raises(InstanceNotRunning):
            site.instance.entra.remove(site.alice.object_id)
        assert site.instance.entra.administrators() == site.principals()
    finally:
        site.instance.up(Wishes(durable=False))
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_server_that_was_killed_is_said(site: Site) -> None:
    status = site.instance.status()
    assert status.postgres_pid is not None
    os.kill(status.postgres_pid, signal.SIGKILL)
    try:
        assert wait_for(lambda: site.instance.status().postgres_pid is None, timeout=PATIENCE)
        said = site.refusal()
        assert "the PostgreSQL server 'entra' does not accept connections" in said
        assert "HINT:  `azpg up entra` starts it." in said
    finally:
        site.instance.up(Wishes(durable=False))
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1


@pytest.mark.every_major
def test_a_removal_that_was_killed_is_completed_by_the_next_start(site: Site) -> None:
    """It notes what it is about to do before it drops the role."""
    access = site.instance.entra.access()
    with site.instance.superuser() as connection:
        connection.execute("CREATE ROLE half_gone LOGIN IN ROLE azure_pg_admin")
    replace(access, former=("half_gone", "never_was")).save(site.instance.home.access)
    site.instance.restart()
    assert site.instance.entra.access() == access
    with connect(site.instance, direct=True) as observer:
        assert value(observer, "SELECT count(*) FROM pg_roles WHERE rolname = 'half_gone'") == 0


def test_a_role_that_somebody_dropped_is_made_again_at_the_next_start(site: Site) -> None:
    with site.instance.superuser() as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ALICE)))
    assert f'role "{ALICE}" does not exist' in site.refusal()
    site.instance.restart()
    with site.login() as connection:
        assert value(connection, "SELECT pg_has_role('azure_pg_admin', 'MEMBER')")


def test_a_killed_front_still_takes_tokens(site: Site) -> None:
    front(site.instance).kill()
    with site.login() as connection:
        assert value(connection, "SELECT 1") == 1


def test_whoever_asks_and_says_nothing_hinders_nobody(site: Site) -> None:
    port = site.instance.status().tls_port
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(startup(user="pgadmin")[:-3])
        with site.login() as connection:
            assert value(connection, "SELECT 1") == 1


def test_an_instance_that_nobody_configured(tmp_path: Any) -> None:
    assert Access.load(tmp_path / "none.json") == Access(None, True, (), ())
