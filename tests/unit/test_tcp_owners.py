"""Whose a connection is, as the kernel says; and the TLS front, which asks before it passes on a password."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator

import pytest

from azpg_runtime.postgres.front.relay import Front
from azpg_runtime.system.tcp_owners import can_be_told, owner_of_client, owner_of_listener

NOBODY = 65534
LISTENING = """\
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)  # only now: another user may not be able to read Python
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def front(port: int) -> Front:
    return Front("sample", port, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.fixture
def strangers_port() -> Iterator[int]:
    """A port on which another user listens."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with subprocess.Popen(
        [sys.executable, "-c", LISTENING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


def test_ones_own() -> None:
    assert can_be_told()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert owner_of_listener(port) == os.geteuid()
        front(port).check_server()
        with socket.create_connection(("127.0.0.1", port)) as client:
            own = client.getsockname()[1]
            assert owner_of_client(own, server_port=port) == os.geteuid()
            assert owner_of_client(own, server_port=port + 1) is None
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as both:  # as gRPC does, with IPv6
            both.connect(("::ffff:127.0.0.1", port))
            assert owner_of_client(both.getsockname()[1], server_port=port) == os.geteuid()
    assert owner_of_listener(port) is None
    front(port).check_server()  # connecting will say that nobody is there


def test_anothers(strangers_port: int) -> None:
    assert owner_of_listener(strangers_port) == NOBODY
    with pytest.raises(ConnectionRefusedError, match="another user of this machine listens there"):
        front(strangers_port).check_server()
