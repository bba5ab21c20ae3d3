"""Issues access tokens, with a key that never leaves its file."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from azpg_runtime.access_tokens import ALGORITHM, Claims, Trust
from azpg_runtime.arm.identity.identities import Identities, Identity, Kind
from azpg_runtime.errors import IdentityError
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.system.locks import locked

MANAGEMENT = ("https://management.azure.com", "https://management.core.windows.net")
"""Azure Resource Manager, as a token's audience."""
_KEY_BITS = 2048


class Issuer:
    """Signs for the directory's tenant. Making the object touches nothing.

    Args:
        folder: AZPG_HOME/arm/identity; the key is made when it is first needed.
        identities: the directory.
    """

    def __init__(self, folder: Path, identities: Identities) -> None:
        self._folder = folder
        self._identities = identities

    @property
    def name(self) -> str:
        """What tokens say of who issued them (`iss`), as Entra ID's of version 1.0 do."""
        return f"https://sts.windows.net/{self._identities.tenant_id}/"

    @cached_property
    def trust(self) -> Trust:
        """What others need to check tokens: no secret."""
        return Trust(self.name, (self._public,))

    def issue(self, identity: Identity, audience: str, lifetime: float, *, groups: Iterable[str] = ()) -> str:
        """A token.

        Args:
            identity: whom it is for.
            audience: the service that is to take it.
            lifetime: seconds; one that is not positive makes a token that has expired.
            groups: object ids of the groups that the identity is in.
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": self.name,
            "iat": now + min(0, int(lifetime)),
            "nbf": now + min(0, int(lifetime)),
            "exp": now + int(lifetime),
            "appid": identity.client_id,
            "appidacr": "2" if identity.kind is Kind.MANAGED else "1",
            "idp": self.name,
            "idtyp": "app",
            "oid": identity.object_id,
            "sub": identity.object_id,
            "tid": self._identities.tenant_id,
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
        }
        if identity.resource_id:
            claims["xms_mirid"] = identity.resource_id
        if groups := list(groups):
            claims["groups"] = groups
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._public["kid"]})

    def verify(self, token: str, audience: str | Collection[str]) -> Claims:
        """What a token proves to the service `audience`, by any of its names. Raises `TokenRefused`."""
        return self.trust.verify(token, [audience] if isinstance(audience, str) else audience)

    @cached_property
    def _public(self) -> dict[str, str]:
        key = self._key.public_key()
        der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(der)
        parts = RSAAlgorithm.to_jwk(key, as_dict=True)
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": ALGORITHM,
            "kid": digest.finalize().hex()[:32],
            "n": parts["n"],
            "e": parts["e"],
        }

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        path = self._folder / "signing.key"
        make_folder(self._folder, 0o700)
        with locked(self._folder / "lock"):
            if not path.exists():
                made = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
                pem = made.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                write_atomically(path, pem.decode("ascii"), mode=0o600)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise IdentityError(
                f"the key {path} is damaged.",
                hint="Remove it: another is made. Earlier tokens are refused then, and servers take new ones "
                "after the next `azpg arm up`.",
            )
        return key
