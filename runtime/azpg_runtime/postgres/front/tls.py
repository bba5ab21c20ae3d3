"""The server's end of one TLS connection, without I/O.

Not asyncio's own TLS: that cannot start with bytes that were read already, cannot close one direction, and
keeps a quarter of a megabyte for each connection, idle or not.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

ALPN = "postgresql"
_RECORD = 16384
"""Bytes that one TLS record holds at most, and so what one read can give."""


def server_context(certificate: Path) -> ssl.SSLContext:
    """How the front speaks TLS. `certificate` holds the private key, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # libpq does not resume sessions, nor does PostgreSQL
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate)
    return context


class TlsChannel:
    """Decrypts what a client sent and encrypts what it is to get.

    After each call, `outgoing` has to be sent.

    Args:
        context: see `server_context`.
        alpn_required: whether the client must name PostgreSQL's protocol by ALPN.
    """

    __slots__ = ("_alpn_required", "_established", "_incoming", "_outgoing", "_tls", "ended")

    def __init__(self, context: ssl.SSLContext, *, alpn_required: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._alpn_required = alpn_required
        self._established = False
        self.ended = False
        """Whether the client said that it will send no more."""

    def receive(self, data: bytes) -> bytes:
        """What `data` completes of the client's words. Raises `ssl.SSLError`, then the connection is lost."""
        self._incoming.write(data)
        pieces = []
        try:
            if not self._established:
                self._shake_hands()
            # Asking only while there is something left spares an exception, which would cost as much again.
            while self._incoming.pending or self._tls.pending():
                piece = self._tls.read(_RECORD)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        if self._alpn_required and self._tls.selected_alpn_protocol() != ALPN:
            raise ssl.SSLError(f"direct TLS without the protocol {ALPN!r} in ALPN")
        self._established = True

    def send(self, data: bytes) -> None:
        """Encrypts `data`. Raises `ssl.SSLError`."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]

    def close(self) -> None:
        """Says that nothing more will be sent."""
        with contextlib.suppress(ssl.SSLError):  # that the client has not said so, or the handshake failed
            self._tls.unwrap()

    def outgoing(self) -> bytes:
        """What has to be sent now."""
        return self._outgoing.read()
