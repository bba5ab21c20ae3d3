"""Who is at the other end of a Unix socket, as the kernel tells it."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = "3i"
"""struct ucred: process, user, group."""


def peer_uid(connection: socket.socket) -> int:
    """The user id of whoever connected, or of whoever began to listen."""
    size = struct.calcsize(_CREDENTIALS)
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack(_CREDENTIALS, credentials)
    return int(uid)
