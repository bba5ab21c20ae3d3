"""The commands of `azpg`: found by entry point, each imported when it is used.

A package adds a command by the entry-point group ``azpg.commands``: the name is the command's, the object
a `typer.Typer` or a function that Typer turns into a command. Such modules import heavy libraries inside
their functions, so that ``azpg --help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from azpg import __version__, command_help
from azpg.failures import READER_LEFT, report
from azpg.suggestions import did_you_mean

_GROUP = "azpg.commands"
_PANELS = {
    "Local servers": ("demo", "up", "status", "psql", "dsn", "logs", "server", "restart", "down", "ca"),
    "Models": ("models", "embed"),
    "A server as a spec says": ("preflight", "plan", "apply", "drift"),
    "Vectors": ("vectorize", "worker", "search", "index"),
    "Azure on this machine": ("arm", "pulumi"),
    "Help": ("help", "schema", "completion", "version"),
}
"""The commands by what somebody wants to do."""


class _Commands(TyperGroup):
    """Sub-commands from entry points; what they cannot do becomes one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, in the order in which a person meets them; then the others, sorted."""
        known = [name for names in _PANELS.values() for name in names]
        there = {point.name for point in entry_points(group=_GROUP)}
        return [name for name in known if name in there] + sorted(there.difference(known))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Imports one command, or returns None where there is none of that name."""
        for point in entry_points(group=_GROUP, name=cmd_name):
            found = point.load()
            command: Any = get_command(found if isinstance(found, typer.Typer) else _single(found))
            command.name = cmd_name
            command.rich_help_panel = _panel_of(cmd_name)
            command_help.install(command)
            return command
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As in any group; a name that there is not is answered with those like it."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            meant = did_you_mean(args[0], self.list_commands(ctx))
            ctx.fail(f"No such command {args[0]!r}. {meant}".rstrip())
        return super().resolve_command(ctx, args)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Reads the command line; ``--help`` and ``--version`` print while it does so."""
        command_help.install(self)
        with _reported():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        with _reported():
            return super().invoke(ctx)


def _panel_of(name: str) -> str | None:
    return next((panel for panel, names in _PANELS.items() if name in names), None)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except SystemExit:  # how Rich answers a broken pipe
        raise typer.Exit(READER_LEFT) from None
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
        if code is None:  # Typer's own exceptions, and bugs
            raise
        raise typer.Exit(code) from None


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
