"""`azpg drift`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azpg.failures import FAILED
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.showing import counted, show
from azpg_provision.target.where import Where

DRIFTED = 3
"""The exit code when there is any."""


@names_target
def drift(
    spec: SpecPath = Path("azpg.yaml"),
    *,
    flags: Where,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read every row where triggers note what changes.")
    ] = False,
    json: Json = False,
) -> None:
    """Say whether a server is still as the spec says; exit code 3 if it is not, 1 if a column is refused.

    Example: azpg drift shop.yaml --stack prod
    """
    from azpg_provision.commands.place import planned  # noqa: PLC0415
    from azpg_provision.plan.change import Kind  # noqa: PLC0415

    _, _, found = planned(flags, spec, quick=quick, vectors=not quick, refused=True)
    rows = "; where triggers are in place, only the rows that they have noted were looked at" if quick else ""
    show(
        found,
        json=json,
        changed=f"{found.target} has drifted from {spec}: {counted(len(found.changes))}.",
        same=f"No drift: {found.target} is as {spec} says{rows}.",
    )
    if any(one.kind is not Kind.INIT for one in found.refused):  # of which nobody knows how it is
        raise typer.Exit(FAILED)
    if found.changes:
        raise typer.Exit(DRIFTED)
