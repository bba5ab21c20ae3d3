"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from azpg_runtime.home import DEFAULT_INSTANCE

Name = Annotated[str, typer.Argument(help="The instance's name.", show_default=DEFAULT_INSTANCE)]
OnInstance = Annotated[str, typer.Option("--local", "-l", help="The instance's name.", metavar="NAME")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
