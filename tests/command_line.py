"""`azpg` as a person or a program runs it: a real process, and what it prints."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jsonschema

from tests.conftest import ROOT

AZPG = [sys.executable, "-m", "azpg"]
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 240.0
"""Seconds until a command that a test runs counts as hanging."""


def run(
    *arguments: str,
    status: int = 0,
    given: str = "",
    cwd: Path | None = None,
    **environment: str,
) -> Done:
    """Runs `azpg` to its end, which is to be the exit code `status`, without a colour or a traceback.

    `environment` is added to the test's own; the command's standard input is `given`.
    """
    done = subprocess.run(
        [*AZPG, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        input=given,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr, "colour in a pipe"
    return done


@contextmanager
def started() -> Iterator[Start]:
    """Starts `azpg`, with `subprocess.Popen`'s options; whatever still runs in the end is killed."""
    with ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen([*AZPG, *arguments], text=True, **{**streams, **options})
            stack.enter_context(process)  # which waits for it, and closes its streams
            stack.callback(_print_rest, process)
            stack.callback(process.kill)
            return process

        yield start


def _print_rest(process: subprocess.Popen[str]) -> None:
    """Prints what a process said and no test has read, which pytest shows if the test failed."""
    for name, stream in (("output", process.stdout), ("error", process.stderr)):
        if stream is not None and not stream.closed and (rest := stream.read()):
            print(f"standard {name} of {shlex.join(map(str, process.args))}:\n{rest}")  # type: ignore[arg-type]


def ended(
    process: subprocess.Popen[str], number: signal.Signals | None = None, *, status: int | None = 0
) -> tuple[str, str]:
    """What a process said until its end, which is to be the exit code `status` (None for any).

    With `number` it is sent that signal first.
    """
    if number is not None:
        process.send_signal(number)
    said = process.communicate(timeout=PATIENCE)
    assert status in {None, process.returncode}, (process.returncode, *said)
    return said


def against(dsn: str, database: str, folder: Path) -> Run:
    """Runs `azpg` in `folder` with a database as its target, unless it is told `target=False`."""

    def there(*arguments: str, target: bool = True, **options: Any) -> Done:
        where = ["--dsn", dsn, "--database", database] if target else []
        return run(*arguments, *where, cwd=folder, **options)

    return there


def machine(printed: Done | str, schema: str) -> dict[str, Any]:
    """What a command printed with --json, held against its published schema."""
    found: dict[str, Any] = json.loads(printed if isinstance(printed, str) else printed.stdout)
    jsonschema.validate(found, json.loads((ROOT / "docs" / "schemas" / f"{schema}.json").read_text()))
    return found
