"""Connections through the TLS front to a real PostgreSQL: libpq's sslmodes, cancelling, COPY, and every fault."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from azpg.errors import UsageError
from azpg_runtime.certificates import LOCAL_NAMES, Authority
from azpg_runtime.errors import CertificateError, InstanceError
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for
from tests.conftest import new_home, remove_home
from tests.support.processes import processes_in

PATIENCE = 30
ROW = b"x" * 1023 + b"\n"


def connect(instance: Instance, *, direct: bool = False, **options: Any) -> psycopg.Connection[Any]:
    """Connects to the front, or directly to PostgreSQL's port, as an application that has a password."""
    status = instance.status()
    defaults: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": status.port if direct else status.tls_port,
        "user": status.admin,
        "dbname": "postgres",
        "passfile": str(instance.home.passfile),
        "autocommit": True,
    }
    return psycopg.connect(**(defaults | options))


def ca(instance: Instance) -> str:
    return str(instance.home.home.ca / "ca.crt")


def password(instance: Instance) -> str:
    return instance.home.passfile.read_text().rstrip("\n").split(":")[-1]


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def front_process(instance: Instance) -> psutil.Process | None:
    """The front itself, not its supervisor."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "azpg_runtime.postgres.front" in line and "azpg_runtime.supervision.supervisor" not in line:
                where = line[line.index("--certificate") + 1]
                if where == str(instance.home.tls / "server.pem"):
                    return process
    return None


def front(instance: Instance) -> psutil.Process:
    assert wait_for(lambda: front_process(instance) is not None, timeout=PATIENCE)
    found = front_process(instance)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shared() -> Iterator[Instance]:
    """A running instance that may be shaken, but is whole again after each test."""
    home = new_home()
    instance = Instance("shared", home=home)
    instance.up(Wishes(durable=False))
    instance.set_parameter("max_connections", "150")
    instance.restart()
    yield instance
    remove_home(home)


# libpq's sslmodes


@pytest.mark.every_major
@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [
        ("disable", False),
        ("allow", False),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_every_sslmode(twin: Instance, mode: str, encrypted: bool) -> None:
    trust = {"sslrootcert": ca(twin)} if mode.startswith("verify") else {}
    with connect(twin, sslmode=mode, **trust) as connection:
        assert connection.pgconn.ssl_in_use is encrypted
        assert value(connection, "SELECT current_user") == "pgadmin"
        assert str(value(connection, "SELECT inet_client_addr()")) == "127.0.0.1"


def test_the_dsn_for_tls(twin: Instance) -> None:
    for dsn in (twin.dsn(tls=True), twin.dsn(tls=True, with_password=True)):
        with psycopg.connect(dsn) as connection:
            assert connection.pgconn.ssl_in_use
    assert password(twin) not in twin.dsn(tls=True)
    assert "sslmode=verify-full" in twin.dsn(tls=True)


def test_the_direct_port_has_no_tls(twin: Instance) -> None:
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL, but SSL was required"):
        connect(twin, direct=True, sslmode="require")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_names_of_this_machine(twin: Instance, name: str) -> None:
    options = {"sslmode": "verify-full", "sslrootcert": ca(twin), "password": password(twin)}
    with connect(twin, host=name, **options) as connection:
        assert connection.pgconn.ssl_in_use


def test_the_name_that_azure_would_give_it(twin: Instance) -> None:
    azure = {"hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": ca(twin)}
    azure["password"] = password(twin)
    with connect(twin, host=f"{twin.name}.postgres.database.azure.com", **azure) as connection:
        assert connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match=r'does not match host name "other\.postgres'):
        connect(twin, host="other.postgres.database.azure.com", **azure)


def test_another_ca_is_refused(twin: Instance, tmp_path: Path) -> None:
    other = Authority(tmp_path / "ca")
    other.certificate()
    for mode in ("verify-ca", "verify-full"):
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connect(twin, sslmode=mode, sslrootcert=str(other.path))
    log = twin.home.tls_log
    assert wait_for(lambda: "TLS failed: TLSV1_ALERT_UNKNOWN_CA" in log.read_text(), timeout=PATIENCE)


def test_the_versions_of_tls(twin: Instance) -> None:
    for version in ("TLSv1.2", "TLSv1.3"):
        with connect(twin, sslmode="require", ssl_max_protocol_version=version) as connection:
            assert connection.pgconn.ssl_in_use


def test_tls_without_asking(twin: Instance) -> None:
    for mode in ("require", "verify-full"):
        trust = {"sslrootcert": ca(twin)} if mode == "verify-full" else {}
        with connect(twin, sslmode=mode, sslnegotiation="direct", **trust) as connection:
            assert connection.pgconn.ssl_in_use


def test_channel_binding_is_not_to_be_had(twin: Instance) -> None:
    """The password is checked by PostgreSQL, which knows nothing of the TLS in front of it."""
    with connect(twin, sslmode="require", channel_binding="prefer") as connection:
        assert connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="channel binding is required, but server"):
        connect(twin, sslmode="require", channel_binding="require")


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_passwords_are_checked(twin: Instance, mode: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(twin, sslmode=mode, password="wrong")
    with pytest.raises(
        psycopg.OperationalError, match=r"no password supplied|password authentication failed"
    ):
        connect(twin, sslmode=mode, passfile="/nonexistent")
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects|no pg_hba.conf entry"):
        connect(twin, sslmode=mode, user="azuresu", password="x")


# Drivers that are not libpq


def exchange(instance: Instance, *packets: bytes, alpn: list[str] | None = None) -> bytes:
    """What the front answers to a driver that starts TLS at once, until it closes."""
    context = ssl.create_default_context(cafile=ca(instance))
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    port = instance.status().tls_port
    said = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        for packet in packets:
            client.sendall(packet)
        while data := client.recv(65536):
            said += data
    return said


def startup(**options: str) -> bytes:
    body = b"".join(f"{key}\0{text}\0".encode() for key, text in options.items()) + b"\0"
    return struct.pack("!II", 8 + len(body), 3 << 16) + body


def test_a_driver_that_starts_tls_itself(twin: Instance) -> None:
    said = exchange(twin, startup(user="pgadmin"), b"X\0\0\0\4", alpn=["postgresql"])
    assert said[:1] == b"R"
    assert b"SCRAM-SHA-256\0" in said
    assert b"SCRAM-SHA-256-PLUS" not in said


@pytest.mark.parametrize("alpn", [None, ["h2"]])
def test_a_driver_that_does_not_name_the_protocol_is_refused(twin: Instance, alpn: list[str] | None) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert exchange(twin, startup(user="pgadmin"), alpn=alpn) == b""


def test_postgresql_itself_answers_what_it_does_not_understand(twin: Instance) -> None:
    said = exchange(twin, struct.pack("!II", 8, 9 << 16), alpn=["postgresql"])
    assert b"unsupported frontend protocol 9.0" in said


def test_encryption_within_encryption_is_refused(twin: Instance) -> None:
    said = exchange(twin, struct.pack("!II", 8, 80877103), alpn=["postgresql"])
    assert b"\0C0A000\0Munsupported frontend protocol 1234.5679\0" in said


# Cancelling


@pytest.mark.parametrize(
    "options",
    [{"sslmode": "disable"}, {"sslmode": "require"}, {"sslmode": "require", "sslnegotiation": "direct"}],
)
@pytest.mark.parametrize("how", ["cancel", "cancel_safe"])
def test_cancelling(twin: Instance, how: str, options: dict[str, str]) -> None:
    """`cancel` is PQcancel, in plain on every connection; `cancel_safe` is PQcancelStart, encrypted like its own."""
    with connect(twin, **options) as connection, connect(twin, direct=True) as observer:
        pid = connection.info.backend_pid
        query = f"SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"

        def cancel() -> None:
            assert wait_for(lambda: observer.execute(query).fetchone() is not None, timeout=PATIENCE)
            getattr(connection, how)()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled, match="canceling statement due to user request"):
            connection.execute("SELECT pg_sleep(60)")
        canceller.join()
        assert value(connection, "SELECT 1") == 1


def test_cancelling_with_the_long_keys_of_protocol_3_2(twin: Instance) -> None:
    with connect(twin, sslmode="require", max_protocol_version="3.2") as connection:
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        connection.cancel_safe()
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) in {b"57014", None}
        while connection.pgconn.get_result() is not None:
            pass


# Much data


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_copy_of_many_megabytes_both_ways(twin: Instance, database: str, mode: str) -> None:
    count = 40_000
    digest, back = hashlib.sha256(), hashlib.sha256()
    with connect(twin, sslmode=mode, dbname=database) as connection:
        connection.execute("CREATE TABLE many (n int, body text)")
        with connection.cursor().copy("COPY many FROM STDIN") as copy:
            for number in range(count):
                line = b"%d\t%d %b" % (number, number, ROW)
                digest.update(line)
                copy.write(line)
        assert value(connection, "SELECT count(*) FROM many") == count
        with connection.cursor().copy("COPY (SELECT * FROM many ORDER BY n) TO STDOUT") as copy:
            for data in copy:
                back.update(data)
    assert back.digest() == digest.digest()


def test_a_reader_that_takes_its_time_costs_no_memory(twin: Instance) -> None:
    process = front(twin)
    before = process.memory_info().rss
    query = "COPY (SELECT repeat('x', 1023) FROM generate_series(1, 200000)) TO STDOUT"
    with connect(twin, sslmode="require") as connection, connect(twin, direct=True) as observer:
        pid = connection.info.backend_pid
        with connection.cursor().copy(query) as copy:
            received = len(copy.read())
            waiting = f"SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'ClientWrite'"
            assert wait_for(lambda: observer.execute(waiting).fetchone() is not None, timeout=PATIENCE)
            assert process.memory_info().rss - before < 20 * 1024 * 1024
            while data := copy.read():
                received += len(data)
    assert received == 200_000 * 1024


def test_a_hundred_connections_at_once(shared: Instance) -> None:
    process = front(shared)
    with connect(shared, sslmode="require"):
        descriptors = process.num_fds() - 2
    barrier = threading.Barrier(100)
    pids: list[int] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            with connect(shared, sslmode="verify-full", sslrootcert=ca(shared)) as connection:
                barrier.wait(PATIENCE)
                pids.append(value(connection, "SELECT pg_backend_pid()"))
                barrier.wait(PATIENCE)
        except Exception as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(pids)) == 100
    assert wait_for(lambda: process.num_fds() <= descriptors, timeout=PATIENCE)


def test_clients_that_stall_hinder_nobody(shared: Instance) -> None:
    with contextlib.ExitStack() as stack:
        for half in (
            b"",
            b"\0\0\0\x08\x04",
            startup(user="pgadmin")[:-3],
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x16\x03\x01",
        ):
            for _ in range(10):
                client = stack.enter_context(
                    socket.create_connection(("127.0.0.1", shared.status().tls_port))
                )
                client.sendall(half)
        with connect(shared, sslmode="require") as connection:
            assert value(connection, "SELECT 1") == 1


# Endings


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_terminated_session_says_so(twin: Instance, mode: str) -> None:
    with connect(twin, sslmode=mode) as connection, connect(twin, direct=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_session_terminated_during_copy_ends(twin: Instance, mode: str) -> None:
    """PostgreSQL leaves with the client's rows unread; libpq does not say why, without the front either."""
    with connect(twin, sslmode=mode) as connection, connect(twin, direct=True) as other:
        connection.execute("CREATE TEMP TABLE rows (body text)")
        pid = connection.info.backend_pid
        reading = f"SELECT FROM pg_stat_progress_copy WHERE pid = {pid} AND tuples_processed > 1000"

        def terminate() -> None:
            assert wait_for(lambda: other.execute(reading).fetchone() is not None, timeout=PATIENCE)
            other.execute("SELECT pg_terminate_backend(%s)", [pid])

        def copy_for_ever() -> None:
            with connection.cursor().copy("COPY rows FROM STDIN") as copy:
                while True:
                    copy.write(ROW * 64)

        terminator = threading.Thread(target=terminate)
        terminator.start()
        with pytest.raises(psycopg.OperationalError):
            copy_for_ever()
        terminator.join()


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_client_that_leaves_ends_its_session(twin: Instance, mode: str) -> None:
    with connect(twin, direct=True) as observer:
        connection = connect(twin, sslmode=mode)
        pid = connection.info.backend_pid
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            raw.shutdown(socket.SHUT_RDWR)  # without saying goodbye
        query = f"SELECT FROM pg_stat_activity WHERE pid = {pid}"
        assert wait_for(lambda: observer.execute(query).fetchone() is None, timeout=PATIENCE)
        connection.close()


def test_a_killed_front_is_replaced_and_nobody_else_notices(shared: Instance) -> None:
    with connect(shared, direct=True) as direct:
        through = connect(shared, sslmode="require")
        first = front(shared)
        first.kill()
        with pytest.raises(psycopg.OperationalError):
            through.execute("SELECT 1")
        through.close()
        with connect(shared, sslmode="require") as again:
            assert value(again, "SELECT 1") == 1
        assert front(shared).pid != first.pid
        assert value(direct, "SELECT 1") == 1
    assert shared.status().state == "running"


def test_a_front_without_supervisor_ends_and_the_next_up_brings_both(shared: Instance) -> None:
    port = shared.status().tls_port
    process = front(shared)
    supervisor = process.parent()
    assert supervisor is not None
    with connect(shared, direct=True) as direct:
        supervisor.kill()
        assert wait_for(lambda: not process.is_running(), timeout=PATIENCE)
        assert shared.status().state == "degraded"
        assert shared.up() is True
        assert shared.up() is False
        assert value(direct, "SELECT 1") == 1
    assert (shared.status().state, shared.status().tls_port) == ("running", port)
    with connect(shared, sslmode="require") as connection:
        assert value(connection, "SELECT 1") == 1


def test_a_server_that_is_down_is_said_and_one_that_comes_back_is_used(shared: Instance) -> None:
    status = shared.status()
    assert status.postgres_pid is not None
    os.kill(status.postgres_pid, signal.SIGKILL)
    assert wait_for(lambda: shared.status().postgres_pid is None, timeout=PATIENCE)
    for mode in ("disable", "require"):
        with pytest.raises(psycopg.OperationalError) as caught:
            connect(shared, sslmode=mode, port=status.tls_port)
        assert "the PostgreSQL server 'shared' does not accept connections" in str(caught.value)
        assert "HINT:  `azpg up shared` starts it." in str(caught.value)
    shared.up()
    with connect(shared, sslmode="require") as connection:
        assert value(connection, "SELECT 1") == 1
    shared.restart()
    with connect(shared, sslmode="require") as connection:
        assert value(connection, "SELECT 1") == 1
    assert (shared.status().port, shared.status().tls_port) == (status.port, status.tls_port)


# Root


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has anything to give up")
def test_the_front_is_not_root(shared: Instance) -> None:
    process = front(shared)
    uids, gids = process.uids(), process.gids()
    account = Path(shared.home.data).stat()
    assert {uids.real, uids.effective, uids.saved} == {account.st_uid} != {0}
    assert {gids.real, gids.effective, gids.saved} == {account.st_gid}
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "Groups:\t \n" in status
    assert "CapEff:\t0000000000000000\n" in status


def test_the_front_may_have_as_many_connections_as_the_system_allows(shared: Instance) -> None:
    control, status = shared._front(shared._cluster(shared.description)), shared.status()
    assert status.tls_port is not None
    control.stop()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        control.launch(port=status.tls_port, server_port=status.port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    control.wait_until_ready(status.tls_port)
    limits = Path(f"/proc/{front(shared).pid}/limits").read_text().splitlines()
    soft, hard = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
    assert soft == hard


def test_the_key_is_for_its_owner(shared: Instance) -> None:
    key = shared.home.tls / "server.pem"
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (os.geteuid(), 0o600)
    assert shared.home.tls.stat().st_mode & 0o777 == 0o700
    assert (shared.home.home.ca / "ca.key").stat().st_mode & 0o777 == 0o600
    assert shared.home.tls_log.stat().st_mode & 0o777 == 0o600


# An instance's life


def test_down_leaves_nothing_and_up_keeps_the_port(home: Home) -> None:
    instance = Instance("gone", home=home)
    instance.up()
    port = instance.status().tls_port
    assert port not in {None, instance.status().port}
    instance.down()
    assert not processes_in(home.root)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert instance.status().tls_port == port
    instance.up()
    assert instance.status().tls_port == port


def test_a_tls_port_that_somebody_took_is_replaced_unless_it_was_chosen(home: Home) -> None:
    instance = Instance("moved", home=home)
    instance.up()
    status = instance.status()
    instance.down()
    said: list[str] = []
    with socket.create_server(("127.0.0.1", status.tls_port)):
        instance.up(say=said.append)
    assert instance.status().tls_port != status.tls_port
    assert instance.status().port == status.port
    assert any(f"Port {status.tls_port} is taken by another program" in line for line in said)
    with psycopg.connect(instance.dsn(tls=True)):
        pass
    instance.down()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = taken.getsockname()[1]
        with pytest.raises(InstanceError, match=f"port {chosen} .* is taken .*--tls-port"):
            instance.up(Wishes(tls_port=chosen))
    with pytest.raises(UsageError, match=f"port and TLS port cannot both be {status.port}"):
        instance.up(Wishes(port=status.port, tls_port=status.port))


def test_the_ports_of_one_instance_never_meet(home: Home) -> None:
    instance = Instance("swapped", home=home)
    instance.up()
    before = instance.status()
    with pytest.raises(InstanceError, match=f"runs on tls_port {before.tls_port}"):
        instance.up(Wishes(tls_port=before.port))
    instance.down()
    instance.up(Wishes(port=before.tls_port))
    after = instance.status()
    assert after.port == before.tls_port
    assert after.tls_port not in {None, after.port}
    with psycopg.connect(instance.dsn(tls=True)):
        pass


def test_an_instance_from_before_there_was_tls_gets_it_at_the_next_up(home: Home) -> None:
    instance = Instance("old", home=home)
    instance.up()
    instance._front(instance._cluster(instance.description)).stop()
    kept = json.loads(instance.home.description.read_text())
    del kept["tls_port"], kept["fixed_tls_port"]
    instance.home.description.write_text(json.dumps(kept))
    assert instance.status().tls_port is None
    assert instance.status().state == "degraded"
    with pytest.raises(InstanceError, match=r"'old' has no port for TLS yet. `azpg up old` gives it one."):
        instance.dsn(tls=True)
    with instance.connect() as direct:
        assert instance.up() is True
        direct.execute("SELECT 1")
    with psycopg.connect(instance.dsn(tls=True)) as connection:
        assert connection.pgconn.ssl_in_use


def test_a_new_ca_is_taken_by_the_next_up(home: Home) -> None:
    instance = Instance("renewed", home=home)
    instance.up()
    first = Path(ca(instance)).read_text()
    shutil.rmtree(home.ca)
    with instance.connect(autocommit=True) as direct:
        assert instance.up() is False
        direct.execute("SELECT 1")
    assert Path(ca(instance)).read_text() != first
    with psycopg.connect(instance.dsn(tls=True)) as connection:
        assert connection.pgconn.ssl_in_use
    process = front(instance)
    assert instance.up() is False
    assert front(instance).pid == process.pid, "a good certificate is no reason for a new front"


def test_a_damaged_ca_is_named_and_nothing_is_left_half_started(home: Home) -> None:
    instance = Instance("damaged", home=home)
    home.create()
    Authority(home.ca).certificate()
    (home.ca / "ca.key").write_text("nonsense")
    for _ in range(2):
        with pytest.raises(CertificateError, match=r"ca.key cannot be read"):
            instance.up()
        assert not processes_in(home.root)
    shutil.rmtree(home.ca)
    assert instance.up() is True


def test_a_front_that_cannot_serve_says_why(home: Home) -> None:
    instance = Instance("mute", home=home)
    instance.up()
    control = instance._front(instance._cluster(instance.description))
    control.stop()
    port, status = instance.description.tls_port, instance.status()
    authority = Authority(home.ca)
    authority.certify(instance.home.tls / "server.pem", subject="mute", names=LOCAL_NAMES)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InstanceError) as caught:
        control.launch(port=port, server_port=status.port)
    assert "Address already in use" in caught.value.detail
    # Another's front would not read this certificate: it is replaced by a folder after it was made.
    control.launch(port=port, server_port=status.port)
    control.wait_until_ready(port)
    certificate = instance.home.tls / "server.pem"
    certificate.unlink()
    certificate.mkdir()
    front(instance).kill()
    with pytest.raises(InstanceError) as caught:
        control.wait_until_ready(port)
    assert caught.value.message == "the TLS front does not start."
    assert "server.pem" in caught.value.detail
    assert caught.value.hint == f"See `azpg logs --tls {instance.name}`."
    assert not control.running()
    certificate.rmdir()
    assert instance.up() is True
