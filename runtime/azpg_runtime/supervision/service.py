"""What a supervised service does for its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal

CANNOT_SERVE = 78
"""A service's exit status (EX_CONFIG of sysexits.h) when its own files keep it from ever serving."""
_PR_SET_PDEATHSIG = 1


def end_with(supervisor: int) -> None:
    """Asks the kernel to end this process when its supervisor does, however that ends.

    The kernel forgets it when the process changes its user or group: then it has to be asked again.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        raise SystemExit("the supervisor is gone")
