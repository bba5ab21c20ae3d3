"""What the process `azpg` has from its caller: streams and umask; and how it becomes another program."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

_callers_umask: int | None = None
_ADMINISTRATORS = ("/usr/sbin", "/sbin")


class Terminated(KeyboardInterrupt):
    """The process was asked to end: whatever cleans up after Ctrl-C does so now."""


def end_in_order() -> None:
    """Lets SIGTERM raise `Terminated`: no hidden cursor, temporary file or child is left behind."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


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


def discard(stream: TextIO) -> None:
    """Lets go of what could not be written: Python would try it again at exit, and fail."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def finish_remarks() -> None:
    """Writes what standard error still holds, if that can be written."""
    try:
        sys.stderr.flush()
    except OSError:
        discard(sys.stderr)


def set_umask(mask: int) -> None:
    """Sets the umask of this process; `become` gives the caller's to the program that follows."""
    global _callers_umask  # noqa: PLW0603 - as the umask itself, there is one for the process
    _callers_umask = os.umask(mask)


def find_program(name: str) -> str | None:
    """The path of a program, None where there is none.

    Programs for administrators are in folders that not everybody's PATH has: they are looked for there, too.
    """
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=os.pathsep.join([path, *_ADMINISTRATORS]))


def called() -> str:
    """What a person types to call `azpg` again: its path, where the shell would not find it by its name."""
    script = sys.argv[0]
    found = shutil.which("azpg")
    if found is None and Path(script).name == "azpg":
        return shlex.quote(script)
    return "azpg"


def become(program: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replaces this process by `program`; `arguments` begin with its name."""
    sys.stdout.flush()
    if _callers_umask is not None:
        os.umask(_callers_umask)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.execve(program, arguments, os.environ if environment is None else environment)
