"""The head of a request to an HTTP proxy (RFC 9110, section 9.3.6), without I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

PORT = 443
LONGEST_HEAD = 8192
"""Bytes."""
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_END = b"\r\n\r\n"
_LINE = re.compile(rb"(?P<method>[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (?P<target>[\x21-\x7e]+) HTTP/1\.[01]")
_AUTHORITY = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The client wants a tunnel to port 443 of `host`; `received` came after the head already."""

    host: str
    received: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Send `reply` and close the connection; `reason` is the line in it."""

    reply: bytes
    reason: str


class Head:
    """Collects a request's head."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Tunnel | Refusal | None:
        """What to do after `data`; None stands for waiting for more. Nothing follows the others."""
        self._received += data
        end = self._received.find(_END)
        # The end may be found late in a large piece: what counts is how long the head is.
        if end > LONGEST_HEAD or (end < 0 and len(self._received) > LONGEST_HEAD):
            return refusal("431 Request Header Fields Too Large", f"a head has at most {LONGEST_HEAD} bytes")
        if end < 0:
            return None
        line = bytes(self._received[:end]).split(b"\r\n", 1)[0]
        return _decide(line, bytes(self._received[end + len(_END) :]))


def _decide(line: bytes, received: bytes) -> Tunnel | Refusal:
    found = _LINE.fullmatch(line)
    if found is None:
        return refusal("400 Bad Request", "this is no HTTP request; CONNECT HOST:443 is allowed")
    if found["method"] != b"CONNECT":
        return refusal(
            "405 Method Not Allowed",
            "only CONNECT HOST:443 is allowed; ask for https, not http",
            "Allow: CONNECT\r\n",
        )
    authority = _AUTHORITY.fullmatch(found["target"].decode("ascii"))
    if authority is None:
        return refusal("400 Bad Request", "CONNECT needs HOST:443")
    if int(authority["port"]) != PORT:
        return refusal("403 Forbidden", f"only port {PORT} is allowed; put other hosts into NO_PROXY")
    return Tunnel(authority["host"], received)


def refusal(status: str, reason: str, headers: str = "") -> Refusal:
    """A refusal with a body of one line."""
    line = f"azpg's offline proxy: {reason}."
    body = f"{line}\n"
    head = (
        f"HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return Refusal((head + body).encode("ascii"), line)
