"""`azpg plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from azpg.output import out, print_json, working
from azpg_provision.commands.arguments import Json, SpecPath, names_target
from azpg_provision.commands.showing import counted, show_plan
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.plan.plan import Plan
    from azpg_provision.spec.model import Spec
    from azpg_provision.target.target import Target


@names_target
def plan(
    spec: SpecPath = Path("azpg.yaml"),
    *,
    flags: Where,
    json: Json = False,
) -> None:
    """Show what would have to change for a server to be as the spec says; change nothing.

    Example: azpg plan shop.yaml --local default
    """
    _, _, found = make(flags, spec)
    if json:
        print_json(found.as_json())
        return
    show_plan(found)
    if found.changes:
        out().print(f"{counted(len(found.changes))} on {found.target}; [bold]azpg apply[/] makes them.")
    else:
        out().print(f"Nothing to do: {found.target} is as {spec} says.", markup=False)


def make(flags: Where, path: Path) -> tuple[Target, Spec, Plan]:
    """The target, the spec in the file `path`, and the plan for what the server has now."""
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.plan.inspection import inspect  # noqa: PLC0415
    from azpg_provision.plan.planning import plan as make_plan  # noqa: PLC0415

    target, spec = open_place(flags, path)
    assert spec is not None
    with working(f"Looking at {target.name}"):
        state = inspect(target, spec)
    return target, spec, make_plan(spec, state)
