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
    """A whole packet and what follows it; None for what PostgreSQL does not take for a start-up packet.

    It is read as PostgreSQL's ProcessStartupPacket does, oddities included: the last byte, which should be
    zero, may be any. What one of the two read in another way would be a way past the other.
    """
    length, version = _HEADER.unpack_from(packet)
    body, rest = packet[_HEADER.size : length], packet[length:]
    if version >> 16 != _MAJOR:
        return None
    options, at = [], 0
    while at < len(body):
        name, after = _text(body, at)
        if not name or after >= len(body):
            break
        value, at = _text(body, after)
        options.append((name, value))
    return (Startup(version, tuple(options)), rest) if at == len(body) - 1 else None


def _text(body: bytes, start: int) -> tuple[bytes, int]:
    """What stands from `start` to the next zero byte or the end, and where the next begins."""
    end = body.find(b"\0", start)
    end = len(body) if end < 0 else end
    return body[start:end], end + 1
