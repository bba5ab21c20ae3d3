"""Processes that belong to a folder: servers, model hosts and supervisors of a test."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


def processes_in(folder: Path) -> dict[psutil.Process, str]:
    """The processes that name a folder in their command line or work in it, each with its command line.

    Command lines are bytes, and any test of the machine may have one that is not UTF-8.
    """
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or is a zombie
            line = " ".join(process.cmdline())
            if process.pid != os.getpid() and (
                str(folder) in line or Path(process.cwd()).is_relative_to(folder)
            ):
                found[process] = line
    return found
