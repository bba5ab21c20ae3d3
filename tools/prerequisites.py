"""Says in one line what this machine lacks to set azpg up: `make` runs it before anything is downloaded."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping

DEBIAN = "on Debian and Ubuntu, `apt install"


def missing(
    environment: Mapping[str, str] = os.environ,
    find_module: Callable[[str], object | None] = importlib.util.find_spec,
) -> list[str]:
    """What is missing, each with what to do.

    Args:
        environment: whose CC and PATH count.
        find_module: returns None for a module that this Python lacks.
    """
    lacks = []
    if find_module("venv") is None or find_module("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        lacks.append(f"Python's modules venv and ensurepip ({DEBIAN} python{version}-venv`)")
    path = environment.get("PATH", os.defpath)
    chosen = environment.get("CC", "").strip()
    if chosen:
        if shutil.which(shlex.split(chosen)[0], path=path) is None:
            lacks.append(f"the C compiler that CC names, {chosen} (unset CC, or correct it)")
    elif not any(shutil.which(name, path=path) for name in ("cc", "gcc", "clang")):
        lacks.append(f"a C compiler ({DEBIAN} gcc libc6-dev`)")
    return lacks


if __name__ == "__main__":
    if lacks := missing():
        sys.exit(f"azpg needs {', and '.join(lacks)}.")
