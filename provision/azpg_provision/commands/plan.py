"""`azpg plan`."""

from __future__ import annotations

from pathlib import Path

import typer

from azpg.failures import FAILED
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.showing import show, summary
from azpg_provision.target.where import Where


@names_target
def plan(
    spec: SpecPath = Path("azpg.yaml"),
    *,
    flags: Where,
    json: Json = False,
) -> None:
    """Show what would have to change for a server to be as the spec says; change nothing.

    The exit code is 1 if it cannot be planned, or a part of it is refused.

    Example: azpg plan shop.yaml --local default
    """
    from azpg_provision.commands.place import command, planned  # noqa: PLC0415

    _, _, found = planned(flags, spec, refused=True)
    end = (
        "; none is made while something is refused."
        if found.refused
        else f". Next: {command('apply', flags, spec)}"
    )
    show(
        found,
        json=json,
        changed=f"{summary(found)}{end}",
        same=f"Nothing to do: {found.target} is as {spec} says.",
    )
    if found.refused:
        raise typer.Exit(FAILED)
