"""Arguments that several commands share."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from azpg.errors import AzpgError, UsageError
from azpg_runtime.home import Home


def _database(name: str) -> str:
    if not name:
        raise UsageError("a database has a name: leave --database out for postgres.")
    return name


def instances(incomplete: str) -> list[str]:
    """The instances whose names begin like that, for a shell that completes."""
    with suppress(AzpgError):
        return [name for name in Home.from_environment().instance_names() if name.startswith(incomplete)]
    return []


Name = Annotated[str, typer.Argument(metavar="NAME", help="The instance's name.", autocompletion=instances)]
OnInstance = Annotated[
    str,
    typer.Option("--local", "-l", help="The instance's name.", metavar="NAME", autocompletion=instances),
]
Database = Annotated[str, typer.Option("--database", "-d", help="The database.", callback=_database)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


class TakesNegativeNumbers(TyperCommand):
    """A command with an argument that may be -1, which otherwise were an option that there is not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line."""
        ctx.ignore_unknown_options = any(re.match(r"-\.?\d", argument) for argument in args)
        return super().parse_args(ctx, args)
