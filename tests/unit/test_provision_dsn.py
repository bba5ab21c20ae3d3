"""What a connection string holds of a secret, and who may see it."""

from __future__ import annotations

import socketserver
import struct
import threading

import pytest

from azpg_provision.errors import TargetUnreachable
from azpg_provision.spec.secret import Secret
from azpg_provision.target.dsn import DsnTarget


class Repeating(socketserver.BaseRequestHandler):
    """A server that asks for a password and refuses it, saying which it was."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"R" + struct.pack("!II", 8, 3))
        password = self.request.recv(4096)[5:].rstrip(b"\0")
        said = b"SFATAL\0C28P01\0M" + password + b" is not the password\0\0"
        self.request.sendall(b"E" + struct.pack("!I", len(said) + 4) + said)


def test_a_password_that_the_server_repeats() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Repeating) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        target = DsnTarget(
            Secret(f"postgresql://a:hunter%402@127.0.0.1:{server.server_address[1]}/x?sslmode=disable")
        )
        try:
            with pytest.raises(TargetUnreachable, match=r"\*\*\* is not the password\. Check the") as refused:
                target.connect()
        finally:
            server.shutdown()
            thread.join()
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("given", ["postgresql://a:hunter/2@host/x", "postgresql://a:x@hunter2@host/x"])
def test_a_password_that_is_read_as_a_host(given: str) -> None:
    with pytest.raises(
        TargetUnreachable, match=r"^what env:SHOP holds has no host or port .*: in a password, write @ as %40"
    ) as refused:
        DsnTarget(Secret(given), source="env:SHOP")
    assert "hunter" not in str(refused.value)
