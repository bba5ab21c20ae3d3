"""Starting and stopping the TLS front of one instance, from outside."""

from __future__ import annotations

import socket
import struct

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import make_folder
from azpg_runtime.home import InstanceHome
from azpg_runtime.postgres.account import Account
from azpg_runtime.postgres.front.greeting import SSL_REQUEST
from azpg_runtime.supervision.control import Supervised
from azpg_runtime.system.logs import rotate

_ANSWER_TIMEOUT = 5.0


class FrontControl:
    """The supervisor of the front and, through it, the front.

    Args:
        home: the instance's folders.
        account: the user that PostgreSQL runs as, which the front becomes when it is started by root.
    """

    def __init__(self, home: InstanceHome, account: Account) -> None:
        self._home = home
        self._account = account
        self._supervised = Supervised(
            "TLS front", word="front", lock=home.tls / "supervisor.lock", log=home.tls_log
        )

    def running(self) -> bool:
        """Whether a supervisor runs."""
        return self._supervised.running()

    def launch(self, *, port: int, server_port: int) -> None:
        """Starts the supervisor unless it runs with a certificate that is still good.

        Args:
            port: where clients connect, on 127.0.0.1.
            server_port: PostgreSQL's own.

        Raises:
            CertificateError: there can be no certificate.
            InstanceError: the port is taken.
        """
        # Imported here because it takes a tenth of a second, which only a start should cost.
        from azpg_runtime.certificates import LOCAL_NAMES, SERVER_DOMAIN, Authority  # noqa: PLC0415

        home = self._home
        make_folder(home.tls, 0o700)
        certificate = home.tls / "server.pem"
        names = (*LOCAL_NAMES, f"{home.name}.{SERVER_DOMAIN}")
        renewed = Authority(home.home.ca).certify(certificate, subject=home.name, names=names)
        if self.running():
            if not renewed:
                return
            self.stop()
        rotate(home.tls_log)
        self._supervised.launch(
            *("--port", str(port)),
            module="azpg_runtime.postgres.front",
            arguments=[
                *("--instance", home.name, "--server-port", str(server_port)),
                *("--certificate", str(certificate)),
                *("--access", str(home.access), "--sockets", str(home.postgres_sockets)),
                *("--uid", str(self._account.uid), "--gid", str(self._account.gid)),
            ],
        )

    def wait_until_ready(self, port: int) -> None:
        """Returns when the front offers TLS. Raises `InstanceError`."""
        self._supervised.wait_until_ready(
            lambda: _offers_tls(port),
            failure=InstanceError,
            hint=f"See `azpg logs --tls {self._home.name}`.",
        )

    def stop(self) -> None:
        """Ends the supervisor and the front, and returns when both are gone. Raises `InstanceError`."""
        self._supervised.stop()


def _offers_tls(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_TIMEOUT) as client:
            client.sendall(struct.pack("!II", 8, SSL_REQUEST))
            return client.recv(1) == b"S"
    except OSError:
        return False
