"""The command line's root: finds sub-commands by entry point and imports each when it is used.

A package adds a command by the entry-point group ``azpg.commands``: the name is the command's, the object
a `typer.Typer` or a function that Typer turns into a command. Such modules import heavy libraries inside
their functions, so that ``azpg --help`` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from azpg import __version__
from azpg.errors import AzpgError, NotAvailable
from azpg.output import complain

_GROUP = "azpg.commands"


class _Commands(TyperGroup):
    """Sub-commands from entry points."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, sorted."""
        return sorted(point.name for point in entry_points(group=_GROUP))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports one command, or returns None where there is none of that name."""
        for point in entry_points(group=_GROUP, name=cmd_name):
            found = point.load()
            command = get_command(found if isinstance(found, typer.Typer) else _single(found))
            command.name = cmd_name
            return command
        return None

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; what it cannot do becomes one line and an exit code."""
        try:
            return super().invoke(ctx)
        except AzpgError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(f"{error.strerror or error}: {error.filename}." if error.filename else f"{error}.")
            raise typer.Exit(1) from None
        except Exception as error:
            # psycopg is loaded only by commands that need it.
            driver = sys.modules.get("psycopg")
            if driver is None or not isinstance(error, driver.Error):
                raise
            complain(f"the server refused: {error}")
            raise typer.Exit(1) from None


def _single(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return app


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def azpg(
    *,
    version: bool = typer.Option(
        False, "--version", help="Print the version and leave.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Azure Database for PostgreSQL with in-database AI: on Azure, or as an offline twin."""


def main() -> None:
    """Runs `azpg` as the console script."""
    if not sys.platform.startswith("linux"):
        complain(str(NotAvailable(f"azpg runs on Linux, not on {sys.platform}.")))
        raise SystemExit(1)
    app(prog_name="azpg")
