"""The server admin's password goes to the server, and to nobody who sits where it was."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import psycopg
import pytest

from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for

CLEARTEXT = b"R" + struct.pack("!II", 8, 3)


class Impostor:
    """Takes connections in a server's place, asks each for the password in the clear, and keeps what comes."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._listener.settimeout(30)
        self.visitors = 0
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.visitors += 1
                with client, contextlib.suppress(OSError, struct.error):  # one that leaves at once
                    client.settimeout(30)
                    (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
                    client.recv(length - 4, socket.MSG_WAITALL)
                    client.sendall(CLEARTEXT)
                    while heard := client.recv(4096):
                        self.heard += heard

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextlib.contextmanager
def impostor(listener: socket.socket) -> Iterator[Impostor]:
    made = Impostor(listener)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def instance(home: Home) -> Instance:
    """A server that was stopped, and whose connection strings people keep."""
    instance = Instance("stopped", home=home)
    instance.up(Wishes(durable=False))
    return instance


def test_who_takes_the_port_of_a_stopped_server_gets_no_password(instance: Instance) -> None:
    password, port = instance.home.passfile.read_text(), instance.description.port
    dsn = instance.dsn()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("pgadmin",)
    instance.down()
    listener = socket.create_server(("127.0.0.1", port))
    with impostor(listener) as other:
        for way in (dsn, instance.dsn()):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(way, connect_timeout=10)
        with pytest.raises(Exception, match="does not run"):
            instance.connect()
    assert password not in other.heard.decode(errors="replace")
    assert (other.visitors, other.heard) == (0, b"")


def test_what_the_impostor_would_hear_by_tcp(instance: Instance) -> None:
    """That the test above would notice: so it was for every connection string of an earlier azpg."""
    password = instance.home.passfile.read_text().strip().split(":")[-1]
    dsn, port = instance.dsn(tcp=True), instance.description.port
    instance.down()
    listener = socket.create_server(("127.0.0.1", port))
    with impostor(listener) as other, pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn, connect_timeout=10)
    assert password.encode() in other.heard


def test_our_own_connections_tell_nobody_the_password(instance: Instance) -> None:
    """Not even somebody who could listen where the server's socket was."""
    instance.down()
    folder = instance.home.postgres_sockets
    instance.home.create_runtime()
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / f".s.PGSQL.{instance.description.port}"))
    listener.listen()
    with impostor(listener) as other:
        with pytest.raises(Exception, match="does not run"):
            instance.connect()
        assert wait_for(lambda: other.visitors == 1, timeout=30)
    assert other.heard == b""


def test_a_server_of_before_has_its_socket_described_when_it_is_asked_for(instance: Instance) -> None:
    instance.home.socket_passfile.unlink()
    with psycopg.connect(instance.dsn()) as connection:
        assert connection.info.host == str(instance.home.postgres_sockets)
    assert instance.home.socket_passfile.stat().st_mode & 0o777 == 0o600
