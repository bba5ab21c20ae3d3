"""Where a server listens, as one text: ``host`` or ``host:port``.

Azure's servers have a host name and the port 5432; a local server has an address and a port of its own,
and says both where Azure says the host name.
"""

from __future__ import annotations

from azpg.errors import UsageError

DEFAULT_PORT = 5432


def parse(text: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    """The host and the port of ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port``.

    An IPv6 address without brackets has no port. Raises `UsageError` for anything else.
    """
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest.startswith(":") else None
        if not closed or ":" not in host or (rest and port is None):
            raise _wrong(text, "a bracket is in the wrong place")
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
    if not host or any(character.isspace() or character in "/@[]?#" for character in host):
        raise _wrong(text, "there is no host name in it")
    if port is None:
        return host, default
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise _wrong(text, "the port is no number from 1 to 65535")
    return host, int(port)


def join(host: str, port: int) -> str:
    """What `parse` reads as this host and port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"{text!r} is no server's address: {why}. Use host or host:port.")
