"""Where a server listens for TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host, a port, and the file of certificates that the server's own is checked against."""

    host: str
    port: int
    ca: str

    def parameters(self) -> dict[str, Any]:
        """What libpq is told; with `verify-full` the certificate has to be for this host."""
        return {
            "host": self.host,
            "port": self.port,
            "sslmode": "verify-full",
            "sslrootcert": self.ca,
        }
