"""How a client logs in: with a password, which PostgreSQL checks, or with a token, which is checked here.

No I/O happens here: `Login` is given the start-up packet, then what the client sends, and says what to do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from azpg_runtime.access_tokens import DATABASE, LONGEST, too_long
from azpg_runtime.errors import TokenRefused
from azpg_runtime.postgres.entra.access import Access, Principal, PrincipalType
from azpg_runtime.postgres.front.greeting import Answer, Forward, Refuse, error_response
from azpg_runtime.postgres.front.startup import Startup, parse

CLEARTEXT_PASSWORD = b"R" + struct.pack("!II", 8, 3)
"""AuthenticationCleartextPassword."""
_HEADER = struct.Struct("!cI")
_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Enter:
    """Connect through PostgreSQL's socket, as the role whose token is good, and send `received` first."""

    received: bytes


Step = Answer | Enter | Forward | Refuse


class Login:
    """One client's login.

    Args:
        access: who may log in how.
        encrypted: whether the client speaks TLS.
    """

    def __init__(self, access: Access, *, encrypted: bool) -> None:
        self._access = access
        self._encrypted = encrypted
        self._received = bytearray()
        self._startup: Startup | None = None
        self._principal: Principal | None = None

    def begin(self, packet: bytes) -> Step:
        """What to do after the first packet, which is whole; what came with it is kept for `feed`."""
        if not self._access.administrators and self._access.password:
            return Forward(packet)
        found = parse(packet)
        if found is None:  # a cancel request, or nothing that PostgreSQL understands
            return Forward(packet)
        self._startup, early = found
        self._received += early
        self._principal = self._access.principal(self._startup.user or b"")
        if self._principal is None:
            return Forward(packet) if self._access.password else _no_passwords()
        return self._no_tokens(self._principal) or Answer(CLEARTEXT_PASSWORD)

    def _no_tokens(self, principal: Principal) -> Refuse | None:
        """Why a token is not even asked for."""
        if self._access.trust is None:
            return _refused(
                "28000",
                f'role "{principal.name}" needs Microsoft Entra authentication, which is not enabled',
                hint="Log in as a role that has a password.",
            )
        if not self._encrypted:
            return _refused(
                "28000",
                f'role "{principal.name}" logs in with an access token, which needs an encrypted connection',
                hint="Connect with sslmode=require.",
            )
        return None

    def feed(self, data: bytes) -> Step | None:
        """What to do after `data`, which answers the demand for a token; None stands for waiting for more."""
        received = self._received
        received += data
        if len(received) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack_from(received)
        if kind != b"p":
            return _refused("08P01", f"expected password response, got message type {kind[0]}")
        if length > LONGEST + _LENGTH + 1:
            return _refused_token(too_long())
        if length > _LENGTH and len(received) <= length:
            return None
        password, rest = bytes(received[_HEADER.size : 1 + length]), bytes(received[1 + length :])
        if password.count(b"\0") != 1 or not password.endswith(b"\0"):
            return _refused("08P01", "invalid password packet size")
        return self._check(password[:-1], rest)

    def _check(self, password: bytes, rest: bytes) -> Step:
        assert self._startup is not None
        assert self._principal is not None
        assert self._access.trust is not None
        principal = self._principal
        if not password:
            return _refused(
                "28P01", "empty password returned by client", hint="The password is an access token."
            )
        try:
            claims = self._access.trust.verify(password.decode(errors="replace"), [DATABASE])
        except TokenRefused as error:
            return _refused_token(error)
        if claims.object_id != principal.object_id and not (
            principal.type is PrincipalType.GROUP and principal.object_id in claims.groups
        ):
            return _refused(
                "28P01",
                f'The access token doesn\'t have a valid oid claim for role "{principal.name}".',
                detail=f"The role is the {_noun(principal.type)} {principal.object_id}.",
                hint="Acquire a new token as that principal and retry.",
            )
        return Enter(self._startup.encode() + rest)


def _noun(kind: PrincipalType) -> str:
    match kind:
        case PrincipalType.USER:
            return "user"
        case PrincipalType.GROUP:
            return "group"
        case PrincipalType.SERVICE_PRINCIPAL:
            return "service principal"
        case PrincipalType.UNKNOWN:
            return "principal"


def nobody() -> Refuse:
    """For everybody, while it cannot be read who may log in."""
    return _refused(
        "28000", "it cannot be read who may log in through TLS", hint="The log of the TLS front says why."
    )


def _no_passwords() -> Refuse:
    return _refused(
        "28000",
        "password authentication is disabled on this server",
        hint="Log in as a Microsoft Entra principal, with an access token as the password.",
    )


def _refused_token(error: TokenRefused) -> Refuse:
    return _refused(error.sqlstate, error.message, detail=error.detail, hint=error.hint)


def _refused(sqlstate: str, message: str, *, detail: str = "", hint: str = "") -> Refuse:
    return Refuse(error_response(sqlstate, message, detail=detail, hint=hint), f"{sqlstate} {message}")
