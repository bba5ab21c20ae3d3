"""`azpg help`, `azpg schema` and `azpg version`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from azpg import __version__, pages
from azpg.output import out

_WIDTH = 100
"""Columns: longer lines of text are hard to read."""


def _topics(incomplete: str) -> list[str]:
    return [name for name in pages.topics() if name.startswith(incomplete)]


def _schemas(incomplete: str) -> list[str]:
    return [name for name in pages.schemas() if name.startswith(incomplete)]


def show_help(
    topic: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help="A page, or a command. Left out: which pages there are.",
            autocompletion=_topics,
        ),
    ] = None,
) -> None:
    """Print a page of the documentation, or what a command takes.

    Example: azpg help provisioning
    """
    words = topic or []
    if not words:
        _list()
        return
    commands = _commands()
    name = " ".join(words).lower().removesuffix(".md").removeprefix("docs/")
    if name in pages.topics():
        _show(pages.topics()[name].read_text(encoding="utf-8"))
        if name in commands and sys.stdout.isatty():
            out().print(f"\n[dim]The options: `azpg {name} --help`[/]")
        return
    if words[0] in commands:
        raise typer.Exit(_root().main([*words, "--help"], prog_name="azpg", standalone_mode=False))
    known = pages.topics() | dict.fromkeys(commands, pages.folder())
    pages.find(name, known, "page or command", otherwise="`azpg help` lists the pages, `azpg` the commands.")


def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Of the spec, or of what a command prints, such as status.",
            autocompletion=_schemas,
        ),
    ] = "spec",
) -> None:
    """Print the JSON Schema of the spec azpg.yaml, for editors, or of what a command prints for machines.

    Example: azpg schema > azpg.schema.json
    """
    sys.stdout.write(pages.find(name, pages.schemas(), "schema").read_text(encoding="utf-8"))


def version() -> None:
    """Print the version, as `azpg --version` does."""
    typer.echo(__version__)


def _list() -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from azpg.output import print_table  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for name, page in pages.topics().items():
        table.add_row(name, escape(pages.title(page)))
    print_table(table)
    out().print(
        "\n[bold]azpg help TOPIC[/] prints a page; [bold]azpg COMMAND --help[/] says what a command takes."
    )


def _show(text: str) -> None:
    """A page: laid out on a terminal, as it is in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # noqa: PLC0415

    console = out()
    console.print(
        Markdown(pages.for_terminals(text), code_theme="ansi_dark"), width=min(console.width, _WIDTH)
    )


def _root() -> Any:
    from typer.main import get_command  # noqa: PLC0415

    from azpg.root import app  # noqa: PLC0415 - which finds this module as one of its commands

    return get_command(app)


def _commands() -> list[str]:
    names: list[str] = _root().list_commands(None)
    return names
