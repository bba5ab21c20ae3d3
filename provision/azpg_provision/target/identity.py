"""The identity that the ARM twin gives to programs of this machine."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

_API = "2019-08-01"
_PATIENCE = 30
_SUFFIX = "/.default"


class TwinIdentity:
    """Gets tokens as azure-identity does with `azpg arm env` in its environment, but without that.

    azure-identity reads the environment at each token: one process could not speak to the twin and to Azure.

    Args:
        endpoint: IDENTITY_ENDPOINT.
        header: IDENTITY_HEADER, a secret.
        ca: a file of certificates to trust.
    """

    def __init__(self, endpoint: str, header: str, ca: str) -> None:
        self._endpoint = endpoint
        self._header = header
        self._ca = ca

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """A token for one scope. Raises `ClientAuthenticationError`."""
        query = {"api-version": _API, "resource": scopes[0].removesuffix(_SUFFIX)}
        request = urllib.request.Request(  # noqa: S310 - an address of the twin's own
            f"{self._endpoint}?{urllib.parse.urlencode(query)}", headers={"X-IDENTITY-HEADER": self._header}
        )
        try:
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}),
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self._ca)),
            )
            with opener.open(request, timeout=_PATIENCE) as answer:
                found = json.load(answer)
            return AccessToken(found["access_token"], int(found["expires_on"]))
        except (OSError, ValueError, KeyError) as error:
            raise ClientAuthenticationError(
                f"the ARM twin gives no token: {error}. `azpg arm status` tells whether it runs."
            ) from None
