"""How a command ends that does not end well: one line on standard error, and an exit code."""

from __future__ import annotations

import sys

from azpg.errors import AzpgError
from azpg.output import complain
from azpg.process import Terminated, discard

FAILED = 1
INTERRUPTED = 130
READER_LEFT = 141
TERMINATED = 143
"""What a shell makes of SIGINT, SIGPIPE and SIGTERM: 128 and the signal's number."""


def report(error: BaseException) -> int | None:
    """Says what went wrong and returns the exit code, or None for a bug, which is left to its traceback."""
    match error:
        case KeyboardInterrupt():  # with what is to be said about what was done until then, if anything
            ended, code = (
                ("terminated", TERMINATED) if isinstance(error, Terminated) else ("interrupted", INTERRUPTED)
            )
            complain(f"{ended}: {error}" if str(error) else f"{ended}.")
            return code
        case BrokenPipeError():
            discard(sys.stdout)
            return READER_LEFT
    reason = explain(error)
    if reason is None:
        return None
    if isinstance(error, OSError):
        discard(sys.stdout)  # it may be what could not be written
    if not isinstance(error, AzpgError):
        complain(reason)
        return FAILED
    complain(*error.lines())
    return error.exit_code


def explain(error: BaseException) -> str | None:
    """What to tell a person of an error that is no bug, else None."""
    if isinstance(error, AzpgError):
        return str(error)
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return f"{what}: {error.filename}." if error.filename else f"{what}."
    # psycopg is loaded only by commands that need it.
    driver = sys.modules.get("psycopg")
    if driver is not None and isinstance(error, driver.Error):
        return f"the server refused: {error}"
    return None
