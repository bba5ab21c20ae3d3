"""`azpg apply`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azpg.errors import UsageError
from azpg.output import err, out, print_json, say
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.plan import make
from azpg_provision.commands.showing import counted, show_plan
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.apply.work import Progress
    from azpg_provision.plan.change import Change


@names_target
def apply(
    spec: SpecPath = Path("azpg.yaml"),
    *,
    flags: Where,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    allow_restart: Annotated[
        bool, typer.Option("--allow-restart", help="Restart the server if a change needs it.")
    ] = False,
    allow_replace: Annotated[
        bool, typer.Option("--allow-replace", help="Drop what azpg made and what has to be made anew.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a server as the spec says: show the plan, ask, and do exactly that.

    Example: azpg apply shop.yaml --yes
    """
    from azpg_provision.apply.apply import Permission  # noqa: PLC0415
    from azpg_provision.apply.apply import apply as carry_out  # noqa: PLC0415

    target, wanted, found = make(flags, spec)
    if not json:
        show_plan(found)
    if found.changes:
        found.check(allow_restart=allow_restart, allow_replace=allow_replace)
        if not yes and not _agreed(f"Make {counted(len(found.changes))} on {found.target}?", json=json):
            out().print("Nothing was changed.")
            raise typer.Exit(1)
        with _shown() as (tell, begin, show):
            permission = Permission(restart=allow_restart, replace=allow_replace)
            carry_out(target, wanted, found, permission, tell=tell, begin=begin, show=show)
    if json:
        print_json(found.as_json())
    elif found.changes:
        done = counted(len(found.changes))
        out().print(f"Done: {done}. {found.target} is as {spec} says.", markup=False)
    else:
        out().print(f"Nothing to do: {found.target} is as {spec} says.", markup=False)


def _agreed(question: str, *, json: bool) -> bool:
    if json or not sys.stdin.isatty():
        raise UsageError("there is nobody to ask: repeat it with --yes once `azpg plan` shows what you want.")
    return typer.confirm(question)


@contextmanager
def _shown() -> Iterator[tuple[Callable[[str], None], Callable[[Change], None], Callable[[Progress], None]]]:
    """What is being done, on a terminal as a bar; yields what to tell sentences, changes and progress."""
    console = err()
    if not console.is_interactive:
        yield say, lambda change: say(str(change)), lambda one: None
        return
    from rich import progress  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[detail]}", markup=False),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None, detail="")

        def begin(change: Change) -> None:
            bar.reset(task, total=None, description=str(change), detail="")

        def show(one: Progress) -> None:
            bar.update(task, completed=one.done, total=one.total or None, detail=one.what)

        yield lambda text: console.print(Text(text, style="dim")), begin, show
