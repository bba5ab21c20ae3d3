"""`azpg drift`."""

from __future__ import annotations

from pathlib import Path

import typer

from azpg.output import out, print_json
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.plan import make
from azpg_provision.commands.showing import counted, show_plan
from azpg_provision.target.where import Where

DRIFTED = 3
"""The exit code when there is any."""


@names_target
def drift(
    spec: SpecPath = Path("azpg.yaml"),
    *,
    flags: Where,
    json: Json = False,
) -> None:
    """Say whether a server is still as the spec says; exit code 3 if it is not.

    Example: azpg drift shop.yaml --stack prod
    """
    _, _, found = make(flags, spec)
    if json:
        print_json(found.as_json())
    else:
        show_plan(found)
        if found.changes:
            text = f"{found.target} has drifted from {spec}: {counted(len(found.changes))}."
        else:
            text = f"No drift: {found.target} is as {spec} says."
        out().print(text, markup=False)
    if found.changes:
        raise typer.Exit(DRIFTED)
