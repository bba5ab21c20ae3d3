"""Arguments that several commands share."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from azpg.errors import UsageError


def _database(name: str) -> str:
    if not name:
        raise UsageError("a database has a name: leave --database out for postgres.")
    return name


Name = Annotated[str, typer.Argument(metavar="NAME", help="The instance's name.")]
OnInstance = Annotated[str, typer.Option("--local", "-l", help="The instance's name.", metavar="NAME")]
Database = Annotated[str, typer.Option("--database", "-d", help="The database.", callback=_database)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


class TakesNegativeNumbers(TyperCommand):
    """A command with an argument that may be -1, which otherwise were an option that there is not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line."""
        ctx.ignore_unknown_options = any(re.match(r"-\.?\d", argument) for argument in args)
        return super().parse_args(ctx, args)
