"""Questions before something is destroyed, or changed where others may miss it."""

from __future__ import annotations

import sys

import typer

from azpg.errors import UsageError
from azpg.output import out, say
from azpg.visible import visible


def confirm(question: str, *, yes: bool, json: bool, nothing: str, advice: str = "") -> None:
    """Returns when a person agrees, or has agreed by --yes; otherwise the command ends with exit code 1.

    Args:
        question: what is about to happen, with a question mark.
        yes: whether --yes was given: nobody is asked.
        json: whether a program reads the answer, which then cannot be asked.
        nothing: what is said where the answer is no.
        advice: when to repeat it with --yes, as a clause.

    Raises:
        UsageError: there is no terminal to ask on.
        KeyboardInterrupt: Ctrl-C was the answer, or SIGTERM came.
    """
    if yes:
        return
    if json or not sys.stdin.isatty():
        raise UsageError(f"there is nobody to ask: repeat it with --yes{advice and f' {advice}'}.")
    try:
        agreed = typer.confirm(visible(question))
    except typer.Abort as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # which Click takes for the answer
            say("")  # ends the line of the question
            raise end.__context__ from None
        raise
    if not agreed:
        out().print(nothing, markup=False)
        raise typer.Exit(1)
