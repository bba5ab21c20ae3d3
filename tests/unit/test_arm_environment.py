"""What a program is given to take the twin for Azure."""

from __future__ import annotations

from pathlib import Path

from azpg_runtime.arm.identity.environment import environment
from azpg_runtime.arm.identity.identities import Identities


def test_environment(tmp_path: Path) -> None:
    identities = Identities(tmp_path)
    found = environment(identities, port=8443, proxy_port=8080, trusted=tmp_path / "trusted.pem")
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://127.0.0.1:8080"
    assert found["NO_PROXY"] == found["no_proxy"] == "127.0.0.1,localhost,::1"
    assert found["REQUESTS_CA_BUNDLE"] == found["SSL_CERT_FILE"] == str(tmp_path / "trusted.pem")
    assert found["IDENTITY_ENDPOINT"] == "https://127.0.0.1:8443/msi/token"
    assert found["IDENTITY_HEADER"] == identities.header
    assert found["AZURE_TENANT_ID"] == identities.tenant_id
