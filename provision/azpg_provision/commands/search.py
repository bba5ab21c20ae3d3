"""`azpg search`: a quick look at what a table answers."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from azpg.output import print_json, print_table, say
from azpg_provision.commands import arguments as a
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.index.search import Found


_WIDTH = 200
"""Characters of a text that people are shown; `--json` has all of it."""


@a.names_target
def search(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A vectorized table, or SCHEMA.TABLE.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.")],
    *,
    flags: Where,
    column: Annotated[
        str | None, typer.Option("--column", "-c", metavar="NAME", help="The column, if there are several.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many rows.")] = 10,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            help="What goes before the question. "
            """\\[default: the rows' own; "query: " where theirs is "passage: "]""",
        ),
    ] = None,
    spec: a.SpecOption = None,
    database: a.Database = None,
    json: a.Json = False,
) -> None:
    """Print the rows of a table whose texts are nearest to a question.

    Example: azpg search products "something for the rain" --spec shop.yaml
    """
    from azpg_provision.commands.databases import place_of  # noqa: PLC0415
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.index.search import search as search_column  # noqa: PLC0415
    from azpg_provision.target.connecting import begin_read_only  # noqa: PLC0415

    target, found = open_place(flags, spec)
    place = place_of(target, found, database=database, table=table, column=column)
    of = place.column
    with place.connect() as connection:
        begin_read_only(connection)
        rows = search_column(connection, of, question, limit=limit, prefix=prefix)
    if json:
        results = [{"key": row.key, "distance": row.distance, "text": row.text} for row in rows]
        print_json({"version": 1, "column": of.name, "results": results})
    elif rows:
        _print(rows)
    else:
        say(f"{of.name} has no embedding yet: `azpg vectorize` makes them.")


def _print(rows: list[Found]) -> None:
    keys = list(rows[0].key)
    table = Table(
        Column("distance", justify="right"),
        *(Column(escape(header), overflow="fold") for header in (*keys, "text")),
        box=None,
        pad_edge=False,
    )
    for row in rows:
        values = (escape(str(row.key[key])) for key in keys)
        text = shorten(row.text, _WIDTH, placeholder=" …")
        table.add_row(f"{row.distance:.4f}", *values, escape(text))
    print_table(table)
