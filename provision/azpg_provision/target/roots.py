"""The certificates that a server's own is checked against."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from azpg.errors import UsageError
from azpg_provision.errors import TargetUnreachable

_USUAL = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


def roots(given: str | None = None) -> str:
    """The file to trust: `given`, or PGSSLROOTCERT's, SSL_CERT_FILE's or the system's.

    libpq's own `system` is not used: in psycopg's wheel it looks where the machine that built it had them.

    Raises `UsageError` if the one that was named is not there, `TargetUnreachable` if there is none at all.
    """
    named = (given, os.environ.get("PGSSLROOTCERT"), os.environ.get("SSL_CERT_FILE"))
    for one in named:
        if one and one != "system":
            if not Path(one).is_file():
                raise UsageError(f"the file of trusted certificates {one} is not there.")
            return one
    for one in (ssl.get_default_verify_paths().cafile, *_USUAL):
        if one and Path(one).is_file():
            return one
    raise TargetUnreachable(
        "no trusted certificates are found on this machine. Install the package ca-certificates, or name a "
        "file in PGSSLROOTCERT."
    )
