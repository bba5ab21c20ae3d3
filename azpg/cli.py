"""The process `azpg`: its arguments, streams, umask and exit code. The commands are in `azpg.root`."""

from __future__ import annotations

import os
import sys

from azpg import process
from azpg.errors import NotAvailable, UsageError
from azpg.failures import report

COMPLETE = "_AZPG_COMPLETE"
"""The variable in which a shell says what it wants to complete."""


def main() -> None:
    """Runs `azpg` as the console script."""
    raise SystemExit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    """Runs one command until the last byte of its output is written; returns the exit code."""
    process.open_closed_streams()
    # What root makes must be in reach of the user that PostgreSQL runs as, and nobody else may write it.
    process.set_umask(0o022)
    try:
        process.end_in_order()
        if not sys.platform.startswith("linux"):
            raise NotAvailable(f"azpg runs on Linux, not on {sys.platform}.")
        _check_text(arguments)
        from azpg.root import app  # takes long enough to be interrupted  # noqa: PLC0415

        if COMPLETE in os.environ:
            _complete()

        try:
            app(arguments, prog_name="azpg")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()  # at exit it would be too late to say that it failed
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
        if code is None:
            raise
    process.finish_remarks()
    return int(code or 0)


def _complete() -> None:
    """Lets Typer answer a shell, though it offers no options for that; see `azpg completion`."""
    from typer._completion_classes import completion_init  # noqa: PLC0415

    completion_init()


def _check_text(arguments: list[str]) -> None:
    """Raises `UsageError` for an argument whose bytes are no text: nothing here has a use for it."""
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            shown = repr(os.fsencode(argument))[1:]
            raise UsageError(f"the argument {shown} is not {sys.getfilesystemencoding()} text.")
