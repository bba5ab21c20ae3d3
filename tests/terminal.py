"""A command on a terminal, and what a person sees there: while it runs, and when it is over."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyte

from tests.command_line import AZPG, PATIENCE

LINES = 400
"""Of the terminal: enough that nothing is scrolled away."""
TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes standard input the terminal of its session. No fork of the tests' own process, which has threads."""
WHOLE = 0.02
"""Seconds of silence after which a frame is whole: bars are drawn ten times a second."""
Seen = Callable[[str], bytes | None]
"""Told what is on the screen each time that it changes; returns what the person types, None for nothing."""


@dataclass
class Screen:
    """A command that is over.

    Attributes:
        status: its exit code.
        lines: what is left on the screen, without blanks at the ends of lines and without empty lines at its
            end.
        frames: the screen each time that it had changed.
    """

    status: int
    lines: list[str]
    frames: list[str] = field(repr=False)

    def seen(self, *words: str) -> list[str]:
        """The lines that were there at some time, each once, with all of these words in them."""
        lines = dict.fromkeys(line for frame in self.frames for line in frame.splitlines())
        return [line for line in lines if all(word in line for word in words)]


def on_terminal(
    *arguments: str,
    command: Sequence[str] = AZPG,
    columns: int = 80,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    typed: Seen = lambda screen: None,
    status: int | None = 0,
) -> Screen:
    """Runs a command, by default `azpg`, on a terminal of its own; it is to end with the exit code `status`."""
    given = {**(os.environ if environment is None else environment), "TERM": "xterm-256color"}
    for size in ("COLUMNS", "LINES"):
        given.pop(size, None)
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, *command, *arguments],
        cwd=cwd,
        env=given,
        start_new_session=True,
        **streams,
    )
    os.close(theirs)
    screen = pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)
    frames: list[str] = []
    try:
        with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with EIO
            while True:
                ready, _, _ = select.select([terminal], [], [], PATIENCE)
                assert ready, ("nothing was said for long", _shown(screen))
                if not (chunk := _read(terminal)):
                    break
                stream.feed(chunk)
                frame = "\n".join(_shown(screen))
                if frame not in frames[-1:]:
                    frames.append(frame)
                    if (keys := typed(frame)) is not None:
                        os.write(terminal, keys)
    finally:
        os.close(terminal)  # which hangs up on whoever is still there
        ended = process.wait(PATIENCE)
    assert status in {None, ended}, (ended, *_shown(screen))
    return Screen(ended, _shown(screen), frames)


def _read(terminal: int) -> bytes:
    """What was written, as a whole: the kernel may hand out the beginning of a frame before its end."""
    read = os.read(terminal, 65536)
    while read and len(read) < 65536 and select.select([terminal], [], [], WHOLE)[0]:
        try:
            read += os.read(terminal, 65536)
        except OSError:  # its end, which is found again
            break
    return read


def _shown(screen: pyte.Screen) -> list[str]:
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines
