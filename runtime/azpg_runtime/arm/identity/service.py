"""All that the twin's process needs of identities, in one place."""

from __future__ import annotations

from starlette.routing import Route

from azpg_runtime.access_tokens import Claims
from azpg_runtime.arm.identity import metadata
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.login import Login
from azpg_runtime.arm.identity.tokens import MANAGEMENT, Issuer
from azpg_runtime.home import Home


class IdentityService:
    """The identities of one home. Making the object touches nothing.

    Args:
        home: where everything lives.
    """

    def __init__(self, home: Home) -> None:
        folder = home.root / "arm" / "identity"
        self.identities = Identities(folder)
        self.issuer = Issuer(folder, self.identities)

    def routes(self) -> list[Route]:
        """Everything that needs no token, because tokens come from there; see `login` and `metadata`."""
        return [*Login(self.identities, self.issuer).routes(), *metadata.routes()]

    def caller(self, token: str) -> Claims:
        """Who calls Azure Resource Manager with this token. Raises `TokenRefused`."""
        return self.issuer.verify(token, MANAGEMENT)
