"""Whose the other end of a TCP connection on this machine is: ports have no owners, sockets do."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The second holds IPv4 connections of sockets that are for both."""
_MAPPED = "0000000000000000FFFF0000"
"""The beginning of an IPv4 address there."""
_LISTENS = "0A"


def owner_of_listener(port: int) -> int | None:
    """The user id of who listens on 127.0.0.1:`port`; None if nobody does, or it cannot be told."""
    return _owner(lambda local, _, state: local == _written(port) and state == _LISTENS)


def owner_of_client(port: int, *, server_port: int) -> int | None:
    """The user id of who has connected from 127.0.0.1:`port`; None if nobody has, or it cannot be told."""
    return _owner(lambda local, remote, _: (local, remote) == (_written(port), _written(server_port)))


def can_be_told() -> bool:
    """Whether this system says whose its sockets are."""
    try:
        with _TABLES[0].open("rb"):
            return True
    except OSError:
        return False


def _owner(fits: Callable[[str, str, str], bool]) -> int | None:
    for table in _TABLES:
        try:
            # As bytes: a text file's codec may be a module, which a process that was root can read no more.
            lines = table.read_bytes().decode().splitlines()[1:]
        except OSError:  # without IPv6 there is but one
            continue
        for line in lines:
            _, local, remote, state, _, _, _, uid, *_ = line.split()
            if fits(local.removeprefix(_MAPPED), remote.removeprefix(_MAPPED), state):
                return int(uid)
    return None


def _written(port: int) -> str:
    """127.0.0.1 and a port as the kernel writes them: the address in the machine's own order of bytes."""
    address = int.from_bytes(ipaddress.ip_address("127.0.0.1").packed, "little")
    return f"{address:08X}:{port:04X}"
