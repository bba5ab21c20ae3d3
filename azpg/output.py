"""What commands print: tables for people, JSON for machines, complaints on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text


def out() -> Console:
    """The console for results; without colour when it is no terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """The console for progress and complaints."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """One line about what is being done, on standard error."""
    err().print(Text(text, style="dim"))


def complain(text: str) -> None:
    """One line about what went wrong, on standard error."""
    line = " ".join(text.split())
    err().print(Text.assemble(("azpg: ", "bold red"), line), soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, never wrapped or coloured."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
