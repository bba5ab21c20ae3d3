"""The certificate of the twin, and what programs are told to trust.

::

    AZPG_HOME/arm/
      ca/             a certificate authority of its own
      server.pem      0600, the twin's key and certificate
      trusted.pem     both authorities of this home, for REQUESTS_CA_BUNDLE and SSL_CERT_FILE

The authority of the instances is bound to names of this machine and of Flexible Servers. The twin also has
to pass for Azure's own management and login hosts, so it has another authority, which belongs into the
environment of the programs that are to reach the twin, and into no list of a whole machine.
"""

from __future__ import annotations

from pathlib import Path

from azpg_runtime.arm.identity.login import LOGIN_HOST
from azpg_runtime.arm.identity.metadata import MANAGEMENT_HOST
from azpg_runtime.certificates import LOCAL_NAMES, Authority
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.home import Home

_DOMAINS = ("localhost", MANAGEMENT_HOST, LOGIN_HOST)
NAMES = (*LOCAL_NAMES, MANAGEMENT_HOST, LOGIN_HOST)
"""Whom the twin's certificate stands for."""


def certify(home: Home) -> Path:
    """The file with the twin's key and certificate, made or renewed. Raises `CertificateError`."""
    path = home.root / "arm" / "server.pem"
    make_folder(path.parent, 0o700)
    _authority(home).certify(path, subject="azpg ARM twin", names=NAMES)
    return path


def trusted(home: Home) -> Path:
    """The file of certificates that reach the twin and, with verify-full, the instances.

    Raises `CertificateError`.
    """
    path = home.root / "arm" / "trusted.pem"
    make_folder(path.parent, 0o700)
    text = ""
    for authority in (_authority(home), Authority(home.ca)):
        authority.certificate()
        text += authority.path.read_text()
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)
    return path


def _authority(home: Home) -> Authority:
    return Authority(home.root / "arm" / "ca", domains=_DOMAINS)
