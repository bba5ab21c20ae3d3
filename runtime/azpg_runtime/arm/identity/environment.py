"""What a program needs in its environment to take the twin for Azure."""

from __future__ import annotations

from pathlib import Path

from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.login import MANAGED_PATH


def environment(identities: Identities, *, port: int, proxy_port: int, trusted: Path) -> dict[str, str]:
    """The variables; IDENTITY_HEADER is a secret of this home.

    Args:
        identities: the directory.
        port: the twin's TLS port on 127.0.0.1.
        proxy_port: the CONNECT proxy's.
        trusted: see `tls.trusted`.
    """
    proxy, direct = f"http://127.0.0.1:{proxy_port}", "127.0.0.1,localhost,::1"
    return {
        # Both spellings: where both are set, most programs read the lower-case one.
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "REQUESTS_CA_BUNDLE": str(trusted),
        "SSL_CERT_FILE": str(trusted),
        "IDENTITY_ENDPOINT": f"https://127.0.0.1:{port}{MANAGED_PATH}",
        "IDENTITY_HEADER": identities.header,
        "AZURE_TENANT_ID": identities.tenant_id,
    }
