"""The start-up packet of protocol 3: who a client wants to be, and what else it says."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("!II")
_MAJOR = 3


@dataclass(frozen=True, slots=True)
class Startup:
    """A start-up packet.

    Attributes:
        version: of the protocol, as the packet has it.
        options: name and value of each, in order.
    """

    version: int
    options: tuple[tuple[bytes, bytes], ...]

    @property
    def user(self) -> bytes | None:
        """The role; PostgreSQL takes the last one that is named."""
        return dict(self.options).get(b"user")

    def encode(self) -> bytes:
        """The packet, which names each option once: PostgreSQL cannot read it in another way than we did."""
        body = b"".join(name + b"\0" + value + b"\0" for name, value in dict(self.options).items()) + b"\0"
        return _HEADER.pack(_HEADER.size + len(body), self.version) + body


def parse(packet: bytes) -> tuple[Startup, bytes] | None:
    """A whole packet and what follows it; None for what is no start-up packet, or a wrong one.

    What that is, PostgreSQL knows best.
    """
    length, version = _HEADER.unpack_from(packet)
    body, rest = packet[_HEADER.size : length], packet[length:]
    if version >> 16 != _MAJOR or body[-1:] != b"\0":
        return None
    parts = body[:-1].split(b"\0")
    # Each name and value ends with a zero byte, so that the last part is empty.
    if parts.pop() or len(parts) % 2:
        return None
    options = tuple(zip(parts[::2], parts[1::2], strict=True))
    return None if any(not name for name, _ in options) else (Startup(version, options), rest)
