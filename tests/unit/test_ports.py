"""A port is free when a server could listen on it."""

from __future__ import annotations

import random
import socket

import pytest

from azpg_runtime.errors import InstanceError
from azpg_runtime.system import ports
from azpg_runtime.wait import wait_for


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_somebody_listens_on_is_taken_until_they_leave(address: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        assert not ports.is_free(port)
    assert wait_for(lambda: ports.is_free(port), timeout=20)


def test_a_port_in_time_wait_is_free_as_it_is_for_a_server() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            accepted.close()  # the side that closes first is the one that waits
            assert client.recv(1) == b""
    assert wait_for(lambda: ports.is_free(port), timeout=20)


def test_choosing() -> None:
    assert 20000 <= ports.choose([]) < 32000


def test_what_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports._random, "sample", lambda population, k: [20001, 20002, 20003, 20004])
    monkeypatch.setattr(ports, "is_free", lambda port: port != 20002)
    assert ports.choose({20001}) == 20003


def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(InstanceError) as caught:
        ports.choose([])
    assert caught.value.message == "no port from 20000 to 32000 is free on 127.0.0.1."
    assert caught.value.hint == "Name one with --port."


def test_those_who_choose_at_once_do_not_meet_even_with_the_same_seed() -> None:
    chosen = set()
    for _ in range(10):
        random.seed(1)  # as pytest-randomly does in each worker
        chosen.add(ports.choose([]))
    assert len(chosen) > 1


def test_why_a_port_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ports.complaint(server.getsockname()[1]) == "is taken by another program"

    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError

    monkeypatch.setattr(ports.socket, "socket", Refusing)
    assert ports.complaint(80) == "is for root alone"
