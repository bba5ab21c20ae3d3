"""What commands print: results for people or machines on standard output, all else on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from azpg.visible import visible, visible_json

if TYPE_CHECKING:  # imported when something is printed: most of the time of a short command would go there
    from rich.console import Console, RenderableType
    from rich.table import Table


def out() -> Console:
    """The console for results; without colour when it is no terminal."""
    from azpg.console import Results  # noqa: PLC0415

    return Results(highlight=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """The console for progress and complaints."""
    from azpg.console import Remarks  # noqa: PLC0415

    return Remarks(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(text: str) -> None:
    """One line about what is being done, on standard error."""
    from rich.text import Text  # noqa: PLC0415

    with suppress(OSError):
        err().print(Text(visible(text), style="dim"))


def complain(text: str, *reasons: str) -> None:
    """One line about what went wrong, on standard error, and one for each of several reasons."""
    from rich.text import Text  # noqa: PLC0415

    with suppress(OSError):
        err().print(Text.assemble(("azpg: ", "bold red"), one_line(text)), soft_wrap=True)
        for reason in reasons:
            err().print(Text(f"  {one_line(reason)}"), soft_wrap=True)


def one_line(text: str) -> str:
    """A text without its breaks, in which nothing commands a terminal."""
    return visible(re.sub(r"\s*[\n\t]\s*", " ", text.strip()))


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal that `what` is being done; yields what to `say` meanwhile."""
    console = err()
    if not console.is_interactive:
        yield say
        return
    from rich.text import Text  # noqa: PLC0415

    with console.status(Text(f"{what} …")):  # a name is no markup
        yield lambda text: console.print(Text(visible(text), style="dim"))


@contextmanager
def counting(
    what: str, total: int | None, *, shown: bool = True, unit: str | None = None
) -> Iterator[Callable[..., None]]:
    """Shows on a terminal how many of `total` are done; yields what to tell that.

    A `total` of None is unknown; it may be told later, as a second argument. With a `unit`, such as ``rows``,
    also how many a second.
    """
    console = err()
    if not (shown and console.is_interactive):
        yield lambda done, of=None: None
        return
    from azpg.progress import bar  # noqa: PLC0415

    with bar(console) as shown_bar:
        shown_bar.begin(what, total=total, unit=unit)
        known = total

        def tell(done: int, of: int | None = None) -> None:
            nonlocal known
            if of is not None and of != known:
                known = of
                shown_bar.begin(what, total=of, unit=unit)
            shown_bar.show(done)

        yield tell


def print_table(table: Table, *, whole: bool = False) -> None:
    """A table: fitted to a terminal; in a pipe each row is a line, however long.

    What cells and heads have of line breaks, or for a terminal to obey, is shown: see `azpg.visible`.

    Args:
        table: what to print.
        whole: each row is a line on a terminal, too, for cells that people copy.
    """
    console = out()
    for column in table.columns:
        column.header = _cell(column.header)
        column._cells = [_cell(cell) for cell in column._cells]
    if console.is_terminal and not whole:
        console.print(table)
        return
    console.width = sys.maxsize
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")
    sys.stdout.flush()  # before what standard error says next, where both go to one log


def _cell(cell: RenderableType) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415

    from azpg.console import visible_text  # noqa: PLC0415

    if isinstance(cell, str):
        return visible(cell)
    return visible_text(cell) if isinstance(cell, Text) else cell


def print_json(value: Any, *, lines: bool = False) -> None:
    """One JSON document on standard output, never wrapped or coloured; with `lines`, on one line."""
    # Characters that the stream's encoding lacks are written as JSON's own escapes.
    ascii_only = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    text = json.dumps(value, indent=None if lines else 2, ensure_ascii=ascii_only)
    sys.stdout.write(visible_json(text) + "\n")
