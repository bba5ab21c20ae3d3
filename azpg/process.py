"""What the process `azpg` has from its caller: streams and umask; and how it becomes another program."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

_callers_umask: int | None = None


def open_closed_streams() -> None:
    """Opens /dev/null for each standard stream that the caller closed.

    Otherwise the next file that is opened would get its number, and what a child prints would go there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal does not have is shown by its number.
        sys.stdout.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Lets go of output that could not be written: Python would try it again at exit, and complain."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def set_umask(mask: int) -> None:
    """Sets the umask of this process; `become` gives the caller's to the program that follows."""
    global _callers_umask  # noqa: PLW0603 - as the umask itself, there is one for the process
    _callers_umask = os.umask(mask)


def become(program: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replaces this process by `program`; `arguments` begin with its name."""
    sys.stdout.flush()
    if _callers_umask is not None:
        os.umask(_callers_umask)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execve(program, arguments, os.environ if environment is None else environment)
