"""The first bytes of a PostgreSQL connection, as PostgreSQL's own ProcessStartupPacket reads them.

A client may ask for encryption, by GSSAPI and by TLS, before it says who it is or whose query it wants
cancelled. No I/O happens here: `Greeting` is fed what the client sends and says what to do next.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CANCEL_REQUEST, SSL_REQUEST, GSSENC_REQUEST = (1234 << 16 | number for number in (5678, 5679, 5680))
_HEADER = struct.Struct("!II")
_SHORTEST, _LONGEST = 8, 10004
"""Bytes of a packet: length and code, or MAX_STARTUP_PACKET_LENGTH and the length."""
_TLS_HANDSHAKE = b"\x16"
"""The first byte of a client that starts TLS unasked: sslnegotiation=direct, from PostgreSQL 17 on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send `reply` and feed what the client says then."""

    reply: bytes


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Send `reply`, start TLS, and feed what it decrypts.

    Attributes:
        received: the first bytes of TLS, which the client has sent already: with direct TLS, which must
            negotiate the protocol by ALPN. Empty where the client waits for the reply.
    """

    reply: bytes
    received: bytes


@dataclass(frozen=True, slots=True)
class Forward:
    """Send `received` to PostgreSQL, and everything that follows in both directions."""

    received: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send `reply`, which is empty where PostgreSQL says nothing either, and close the connection.

    Attributes:
        reason: for the log, where it is worth a line there.
    """

    reply: bytes
    reason: str = field(default="", compare=False)


Step = Answer | Encrypt | Forward | Refuse


class Greeting:
    """Reads a connection up to its start-up packet or cancel request."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._first = True
        self._encrypted = False
        self._gss_refused = False

    def feed(self, data: bytes) -> Step | None:
        """What to do after `data`; None stands for waiting for more. Nothing follows Forward and Refuse."""
        received = self._received
        received += data
        if self._first and received[:1] == _TLS_HANDSHAKE:
            return self._encrypt(b"", bytes(received))
        if len(received) < _SHORTEST:
            return None
        length, code = _HEADER.unpack_from(received)
        if not _SHORTEST <= length <= _LONGEST:
            return Refuse(b"")
        return self._packet(length, code) if len(received) >= length else None

    def _packet(self, length: int, code: int) -> Step:
        self._first = False
        if code == SSL_REQUEST and not self._encrypted:
            return self._surplus(length, "SSL") or self._encrypt(b"S", b"")
        if code == GSSENC_REQUEST and not self._encrypted and not self._gss_refused:
            self._gss_refused = True
            return self._surplus(length, "GSSAPI encryption") or self._answer(b"N")
        if code in {SSL_REQUEST, GSSENC_REQUEST}:
            return Refuse(
                error_response(
                    "0A000",
                    f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}",
                    detail="The client asked for encryption before.",
                )
            )
        return Forward(bytes(self._received))

    def _answer(self, reply: bytes) -> Answer:
        self._received.clear()
        return Answer(reply)

    def _encrypt(self, reply: bytes, received: bytes) -> Encrypt:
        self._received.clear()
        self._first, self._encrypted = False, True
        return Encrypt(reply, received)

    def _surplus(self, length: int, what: str) -> Refuse | None:
        """Refuses what came with a request for encryption: it would count as encrypted (CVE-2021-23214)."""
        if len(self._received) == length:
            return None
        return Refuse(
            error_response(
                "08P01",
                f"received unencrypted data after {what} request",
                detail="This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack.",
            )
        )


def error_response(sqlstate: str, message: str, *, detail: str = "", hint: str = "") -> bytes:
    """An ErrorResponse message that ends the connection (severity FATAL)."""
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": message, "D": detail, "H": hint}
    body = b"".join(f"{key}{text}\0".encode() for key, text in fields.items() if text) + b"\0"
    return b"E" + struct.pack("!I", 4 + len(body)) + body
