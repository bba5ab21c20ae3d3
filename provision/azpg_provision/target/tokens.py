"""Microsoft Entra access tokens as PostgreSQL's password."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from azure.core.credentials import AccessToken, TokenCredential

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"
_MARGIN = 300.0
"""Seconds before its end from which a token is not used for a login any more."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a token says it is for: their object id, and those of their groups."""

    object_id: str
    groups: frozenset[str]


class Tokens:
    """The token for logins, got anew before it expires; safe to use from several threads.

    Args:
        credential: any of azure-identity's.
        scope: what the token is for.
        clock: tells the seconds since 1970.
    """

    def __init__(
        self, credential: TokenCredential, scope: str = SCOPE, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._credential = credential
        self._scope = scope
        self._clock = clock
        self._lock = threading.Lock()
        self._token: AccessToken | None = None
        self._refresh = 0.0

    def password(self) -> str:
        """A token that is good for a login now. Raises what the credential raises."""
        with self._lock:
            if self._token is None or self._clock() >= self._refresh:
                self._token = self._credential.get_token(self._scope)
                now = self._clock()
                left = self._token.expires_on - now
                self._refresh = now + max(left - _MARGIN, left / 2)  # half of one that is short
            return self._token.token

    def forget(self) -> None:
        """Lets the next login have another token, after the server refused this one."""
        with self._lock:
            self._token = None

    def owner(self) -> Owner | None:
        """Whose token it is, as it says itself; None if it does not. Only the server checks that."""
        return owner(self.password())


def owner(token: str) -> Owner | None:
    """Whom a token is for, unchecked; None for what is no token with an object id."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(claims, dict) or not isinstance(claims.get("oid"), str):
        return None
    groups = claims.get("groups")
    groups = groups if isinstance(groups, list) else []
    return Owner(claims["oid"].lower(), frozenset(one.lower() for one in groups if isinstance(one, str)))
