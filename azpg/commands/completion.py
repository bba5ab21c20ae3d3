"""`azpg completion`."""

from __future__ import annotations

from typing import Annotated

import typer

from azpg.errors import UsageError

_SHELLS = ("bash", "zsh", "fish")


def _shells(incomplete: str) -> list[str]:
    return [shell for shell in _SHELLS if shell.startswith(incomplete)]


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=_shells)],
) -> None:
    """Print what lets a shell complete commands, options and names.

    Example: eval "$(azpg completion bash)"
    """
    from typer._completion_shared import get_completion_script  # noqa: PLC0415

    from azpg.cli import COMPLETE  # noqa: PLC0415 - which finds this module as one of its commands

    if shell not in _SHELLS:
        raise UsageError(f"there is no completion for the shell {shell!r}: use {', '.join(_SHELLS)}.")
    typer.echo(get_completion_script(prog_name="azpg", complete_var=COMPLETE, shell=shell))
