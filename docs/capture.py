"""Draws what a command prints in a terminal as an SVG: ``python docs/capture.py docs/demo.svg azpg demo``."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 60


def run_in_terminal(command: list[str]) -> str:
    """Everything that a command writes to its terminal."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
        os.execvp(command[0], command)
    written = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # the terminal is gone with its last process
            break
        if not chunk:
            break
        written += chunk
    os.waitpid(pid, 0)
    return written.decode(errors="replace")


def visible(written: str) -> str:
    """What is left on the screen: without spinners and bars, which erase themselves."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        pieces = [re.sub(r"\x1b\[(\?25[lh]|\d*[AK])", "", piece) for piece in line.split("\r")]
        if not re.search(r"[\u2800-\u28ff\u2501\u2578]", pieces[-1]):
            lines.append(pieces[-1])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def main() -> None:
    """Runs the command and writes the picture."""
    target, command = Path(sys.argv[1]), sys.argv[2:]
    shown = f"\x1b[1m$ {' '.join(command)}\x1b[0m\n" + visible(run_in_terminal(command))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    picture = console.export_svg(title=" ".join(command))
    # The picture must not fetch fonts from anywhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    target.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
