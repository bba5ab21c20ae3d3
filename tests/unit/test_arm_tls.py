"""The ARM twin's certificate: Azure's own names, by an authority that can deceive about nothing else."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from azpg_runtime.arm.identity import tls
from azpg_runtime.certificates import Authority
from azpg_runtime.errors import CertificateError
from azpg_runtime.home import Home
from tests.unit.test_certificates import handshake


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(
    "name", ["management.azure.com", "login.microsoftonline.com", "localhost", "127.0.0.1"]
)
def test_names(home: Home, name: str) -> None:
    pem = tls.certify(home)
    assert pem.stat().st_mode & 0o777 == 0o600
    handshake(pem, ssl.create_default_context(cafile=tls.trusted(home)), name)


def test_other_names_are_refused(home: Home) -> None:
    pem = tls.certify(home)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(pem, ssl.create_default_context(cafile=tls.trusted(home)), "portal.azure.com")


def test_authority_is_bound_to_its_names(home: Home, tmp_path: Path) -> None:
    tls.certify(home)
    stolen = Authority(home.root / "arm" / "ca")
    stolen.certify(tmp_path / "forged.pem", subject="x", names=["vault.azure.net"])
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(
            tmp_path / "forged.pem", ssl.create_default_context(cafile=tls.trusted(home)), "vault.azure.net"
        )


def test_trusted_holds_the_instances_authority_too_and_follows_it(home: Home) -> None:
    first = tls.trusted(home).read_text()
    assert Authority(home.ca).path.read_text() in first
    assert tls.trusted(home).read_text() == first
    assert first.count("BEGIN CERTIFICATE") == 2
    (home.ca / "ca.key").unlink()
    (home.ca / "ca.crt").unlink()
    home.ca.rmdir()
    assert tls.trusted(home).read_text() != first


def test_damaged_authority(home: Home) -> None:
    tls.certify(home)
    (home.root / "arm" / "ca" / "ca.crt").write_text("x")
    with pytest.raises(CertificateError, match="is damaged"):
        tls.certify(home)
