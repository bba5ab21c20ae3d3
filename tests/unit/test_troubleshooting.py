"""docs/troubleshooting.md quotes messages that somebody can meet: they stand in the code as they stand there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
PYTHON = ("azpg", "infra/azpg_infra", "provision/azpg_provision", "runtime/azpg_runtime", "tools")
OTHERS = {
    "error: externally-managed-environment",  # pip
    "ensurepip is not available",  # Debian's venv
    "azpg: command not found",  # a shell
    "psql: command not found",
    "No space left on device: …",  # the system
    "Connection refused",  # libpq
    "No such file or directory",
    "fe_sendauth: no password supplied",
    "password authentication failed",  # PostgreSQL
}
"""Messages of other programs."""
GAP = re.compile(r"""…|'[^']*'|"[^"]*"|\[[^\]]*\]|\b[\w-]+:v\d|\d+(\.\d+){3}|\d+|\bpublic\.\w+|: |\s{2,}""")
"""What differs from case to case, and where a message is put together."""


def python_texts() -> Iterator[str]:
    for folder in PYTHON:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def other_texts() -> Iterator[str]:
    for pattern in ("*.c", "*.h", "CMakeLists.txt"):
        for path in (ROOT / "runtime" / "shim").rglob(pattern):
            yield re.sub(r'"\s*\n\s*"', "", path.read_text(encoding="utf-8")).replace('\\"', '"')
    yield (ROOT / "Makefile").read_text(encoding="utf-8")


def quoted() -> list[str]:
    """The messages of the page's first columns."""
    rows = re.findall(r"^\| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row) if " " in message]


def test_every_message_that_the_page_quotes_is_in_the_code() -> None:
    texts = " \n".join([*python_texts(), *other_texts()])
    messages = [message for message in quoted() if message not in OTHERS]
    assert len(messages) > 20
    missing = {
        message: part
        for message in messages
        for part in (part.strip(" ,;") for part in GAP.sub("\0", message).split("\0"))
        if len(part.split()) > 1 and part not in texts
    }
    assert missing == {}
