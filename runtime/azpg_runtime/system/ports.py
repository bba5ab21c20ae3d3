"""Choosing a TCP port on 127.0.0.1 that an instance can keep."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from azpg_runtime.errors import InstanceError

_FIRST, _LAST = 20000, 32000
"""Below the range that Linux takes for outgoing connections, so that nobody takes it by chance."""
_TRIES = 200
_random = random.SystemRandom()
"""Seeded by nobody: processes with one seed, as pytest-randomly gives its workers, would choose alike."""


def complaint(port: int) -> str:
    """Why no server of this user could listen on the port now; '' if one could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return "is for root alone"
        except OSError:
            return "is taken by another program"
    return ""


def is_free(port: int) -> bool:
    """Whether a server of this user could listen on the port now."""
    return not complaint(port)


def choose(taken: Collection[int]) -> int:
    """A free port that is not in `taken`. Raises `InstanceError` when none is found."""
    for port in _random.sample(range(_FIRST, _LAST), _TRIES):
        if port not in taken and is_free(port):
            return port
    raise InstanceError(
        f"no port from {_FIRST} to {_LAST} is free on 127.0.0.1.", hint="Name one with --port."
    )
