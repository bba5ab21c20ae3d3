r"""Draw what a command prints in a terminal as an SVG.

The README's picture is made, with ``azpg demo`` run before, by

    python docs/capture.py --columns 80 --start "-- Search" --end "start the server" \
        docs/demo.svg azpg demo --keep -q "how do I make my class iterable"
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text


def run_in_terminal(command: list[str], columns: int) -> str:
    """Everything that a command writes to a terminal of so many columns."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": str(columns), "LINES": "60", "TERM": "xterm-256color"}
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


def part(shown: str, start: str | None, end: str | None) -> str:
    """The lines from the first with `start` in it to the one before the first with `end` in it."""
    lines = shown.split("\n")
    plain = [Text.from_ansi(line).plain for line in lines]
    first = next((n for n, line in enumerate(plain) if start and start in line), 0)
    last = next((n for n, line in enumerate(plain) if end and end in line), len(lines))
    return "\n".join(lines[first:last]).strip("\n")


def main() -> None:
    """Run the command and write the picture."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--columns", type=int, default=100, help="the terminal's width [100]")
    parser.add_argument("--start", help="show the lines from the one with this text")
    parser.add_argument("--end", help="show the lines before the one with this text")
    parser.add_argument("picture", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("name the command to run after the picture")
    # As a person types it: double quotes around a question.
    typed = " ".join(f'"{word}"' if shlex.quote(word) != word else word for word in given.command)
    printed = visible(run_in_terminal(given.command, given.columns))
    shown = f"\x1b[1m$ {typed}\x1b[0m\n" + part(printed, given.start, given.end)
    console = Console(record=True, width=given.columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    picture = console.export_svg(title=given.command[0])
    # The picture must not fetch fonts from anywhere.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    given.picture.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
