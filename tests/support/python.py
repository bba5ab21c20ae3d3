"""Whether a server's own users can run the Python that the tests are run by."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_NOBODY = 65_534
"""A user id that owns nothing."""


@cache
def others_run_python() -> bool:
    """False for one below a folder of root's, such as pyenv's in /root; only root can find out."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import asyncio, onnxruntime, azpg_runtime"],
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
        )
    except PermissionError:  # not even the program; or this is not root
        return False
    return done.returncode == 0
