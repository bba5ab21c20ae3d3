"""`azpg apply`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azpg.confirm import confirm
from azpg.output import out, print_json, say
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.reporting import reporting
from azpg_provision.commands.showing import counted, show_plan, summary
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.spec.model import Spec


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
    from azpg_provision.commands.place import planned  # noqa: PLC0415

    target, wanted, found = planned(flags, spec)
    if not json:
        show_plan(found)
    began = time.monotonic()
    if found.changes:
        found.check(allow_restart=allow_restart, allow_replace=allow_replace)
        confirm(
            f"Make {summary(found)}?",
            yes=yes,
            json=json,
            nothing="Nothing was changed.",
            advice="once `azpg plan` shows what you want",
        )
        began = time.monotonic()
        with reporting(found) as report:
            permission = Permission(restart=allow_restart, replace=allow_replace)
            carry_out(target, wanted, found, permission, report)
    if json:
        print_json(found.as_json())
    elif found.changes:
        done = f"{counted(len(found.changes))} in {time.monotonic() - began:.1f} s"
        out().print(f"Done: {done}. {found.target} is as {spec} says.", markup=False)
        _show_next(flags, spec, wanted)
    else:
        out().print(f"Nothing to do: {found.target} is as {spec} says.", markup=False)


def _show_next(flags: Where, path: Path, spec: Spec) -> None:
    """Says what a person may want to do now: a command a line, and what for."""
    from azpg_provision.commands.place import command  # noqa: PLC0415

    tables = [(database, table) for database in spec.databases for table in database.tables]
    lines = []
    if tables:
        database, table = tables[0]
        words = [table.name, "…", *(["--database", database.name] if len(spec.databases) > 1 else [])]
        lines.append((command("search", flags, path, *words, option="--spec"), "what the rows answer"))
    syncs = [embedding.sync for _, table in tables for embedding in table.embeddings]
    if queues := syncs.count("queue"):
        columns = f"{queues} column{'' if queues == 1 else 's'}"
        lines.append((command("worker", flags, path), f"for {columns} with `sync: queue`"))
    if unkept := syncs.count("none"):
        columns = f"{unkept} column{'' if unkept == 1 else 's'}"
        lines.append((command("vectorize", flags, path), f"now and then, for {columns} with `sync: none`"))
    lines.append((command("drift", flags, path), "in CI: exit code 3 once the server differs"))
    width = max(len(text) for text, _ in lines)
    say("Next:")
    for text, why in lines:
        say(f"  {text:<{width}}  {why}")
