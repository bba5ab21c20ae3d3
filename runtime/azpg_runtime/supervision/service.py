"""What a service, its supervisor and whoever starts them have agreed on."""

from __future__ import annotations

import ctypes
import os
import signal

CANNOT_SERVE = 78
"""A service's exit status (EX_CONFIG of sysexits.h) when its own files keep it from ever serving."""
BEAT = 1.0
"""Seconds from one sign of life to the next that a service gives its supervisor."""
_PR_SET_PDEATHSIG = 1


def started(name: str) -> str:
    """The line with which a supervisor begins in the log: what stands before it is no word of its service."""
    return f"supervisor: the {name} is being started"


def end_with(supervisor: int) -> None:
    """Asks the kernel to end this process when its supervisor does, however that ends.

    The kernel forgets it when the process changes its user or group: then it has to be asked again.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        raise SystemExit("the supervisor is gone")


def become(uid: int, gid: int) -> None:
    """Gives up root for good; everything that root alone may read has been read."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
