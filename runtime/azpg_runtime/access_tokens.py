"""Access tokens: who is trusted to issue them, and what one says.

A token is a JSON Web Token (RFC 7519) that is signed with RS256, as those of Microsoft Entra ID are. To
check one takes public keys only, so whoever checks can issue none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from azpg_runtime.errors import (
    TokenExpired,
    TokenForAnother,
    TokenForged,
    TokenMalformed,
    TokenNotYetValid,
)

ALGORITHM = "RS256"
DATABASE = "https://ossrdbms-aad.database.windows.net"
"""Azure's open-source databases, as a token's audience."""
LONGEST = 16384
"""Characters; those of Entra ID are shorter than 4,096."""
_REQUIRED = ("exp", "iss", "aud", "oid")
_AGAIN = "Acquire a new token and retry."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token proves.

    Attributes:
        object_id: of whom it was issued to (`oid`).
        audience: the service that it is for, as the token writes it.
        groups: object ids of the groups that they are in.
        expires_on: seconds since 1970.
        all: every claim.
    """

    object_id: str
    audience: str
    groups: frozenset[str]
    expires_on: int
    all: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trust:
    """One issuer whose tokens are believed.

    Attributes:
        issuer: what its tokens must say (`iss`).
        keys: its public keys, each a JSON Web Key (RFC 7517) with a `kid`.
    """

    issuer: str
    keys: tuple[Mapping[str, str], ...]

    def verify(self, token: str, audiences: Collection[str]) -> Claims:
        """What `token` proves to a service that goes by any name of `audiences`, a slash at its end or not.

        Raises:
            TokenMalformed: it is no token at all.
            TokenForged: the signature is not this issuer's.
            TokenExpired: it ended by now.
            TokenNotYetValid: it begins later.
            TokenForAnother: it is for another service.
        """
        # Imported here because it takes a tenth of a second, which most commands save.
        import jwt  # noqa: PLC0415

        if len(token) > LONGEST:
            raise too_long()
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=[ALGORITHM],
                audience=_spellings(audiences),
                issuer=self.issuer,
                options={"require": list(_REQUIRED)},
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired("The access token has expired.", hint=_AGAIN) from None
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
            raise TokenNotYetValid("The access token is not valid yet.", hint="Compare the clocks.") from None
        except jwt.InvalidAudienceError:
            raise TokenForAnother(
                "The access token does not have a valid audience claim.",
                hint=f'Acquire a new token for the resource "{next(iter(audiences))}".',
            ) from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenMalformed(
                f"The access token doesn't have a valid {error.claim} claim.", hint=_AGAIN
            ) from None
        except (jwt.InvalidSignatureError, jwt.InvalidIssuerError):
            raise self._forged() from None
        # What nobody signed may be anything: a lone surrogate is a ValueError and, in older releases of
        # PyJWT, deep nesting a RecursionError.
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _no_token() from None
        return _read(claims)

    def _key(self, token: str) -> Any:
        """The key that a token says it was signed with. Raises what PyJWT does, and `TokenForged`."""
        import jwt  # noqa: PLC0415

        named = jwt.get_unverified_header(token).get("kid")
        for key in self.keys:
            if key["kid"] == named:
                return jwt.PyJWK(dict(key), algorithm=ALGORITHM)
        raise self._forged()

    def _forged(self) -> TokenForged:
        return TokenForged(
            "The access token is not signed by the tenant that this server trusts.",
            detail=f"Tokens of {self.issuer} are allowed.",
            hint=_AGAIN,
        )


def prepare() -> None:
    """Loads what `Trust.verify` takes, for a process that will soon be a user who cannot read it."""
    import jwt  # noqa: F401, PLC0415


def too_long() -> TokenMalformed:
    """The refusal of more characters than a token may have."""
    return TokenMalformed(
        f"The access token is longer than {LONGEST} characters.", hint="Send the token alone."
    )


def _spellings(audiences: Iterable[str]) -> list[str]:
    bare = [audience.rstrip("/") for audience in audiences]
    return [*bare, *(f"{audience}/" for audience in bare)]


def _no_token() -> TokenMalformed:
    return TokenMalformed(
        "The access token cannot be read.", detail="A JSON Web Token is expected.", hint=_AGAIN
    )


def _read(claims: Mapping[str, Any]) -> Claims:
    groups = claims.get("groups", [])
    if not isinstance(claims["oid"], str) or not isinstance(groups, list):
        raise _no_token()
    return Claims(
        object_id=claims["oid"],
        audience=str(claims["aud"]),
        groups=frozenset(str(group) for group in groups),
        expires_on=int(claims["exp"]),
        all=claims,
    )
