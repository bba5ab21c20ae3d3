"""`azpg preflight`: whether a server can do what a spec asks, before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from azpg.output import out, print_json, print_table, working
from azpg_provision.commands.arguments import Json, names_target
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.preflight.check import Check

_COLOURS = {"pass": "green", "fail": "red", "unknown": "yellow"}
_FAILED = 1
_SUMMARY = ("nothing stands in the way", "nothing that could be looked at stands in the way")


@names_target
def preflight(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="SPEC", help="The spec. \\[default: azpg.yaml]", show_default=False),
    ] = None,
    *,
    flags: Where,
    json: Json = False,
) -> None:
    """Check whether a server can do what a spec asks; nothing is changed.

    The exit code is 1 if a check fails. Without a spec it looks for vector and azure_local_ai.

    Example: azpg preflight shop.yaml --stack prod
    """
    from azpg_provision.commands.place import open_place  # noqa: PLC0415
    from azpg_provision.preflight.needs import NO_SPEC, of_spec  # noqa: PLC0415
    from azpg_provision.preflight.run import has_failed, run  # noqa: PLC0415

    with working("Looking at the server"):
        target, found = open_place(flags, spec)
        needs = of_spec(found) if found is not None else NO_SPEC
        try:
            checks = list(run(target, needs))
        finally:
            target.close()
    if json:
        print_json({"version": 1, "target": target.name, "checks": [one.as_json() for one in checks]})
    else:
        _print(target.name, checks)
    if has_failed(checks):
        raise typer.Exit(_FAILED)


def _print(target: str, checks: list[Check]) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    table = Table(
        Column("check", overflow="fold"),
        "status",
        Column("why", overflow="fold"),
        title=f"Preflight of {escape(target)}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for one in checks:
        said = escape(one.reason)
        if one.action:
            style = "bold" if one.status == "fail" else "dim"
            said += f"[{style}] → {escape(one.action)}[/]"
        table.add_row(escape(one.id), f"[{_COLOURS[one.status]}]{one.status}[/]", said)
    print_table(table)
    counts = {status: sum(one.status == status for one in checks) for status in _COLOURS}
    out().print(
        f"{counts['pass']} pass, {counts['fail']} fail, {counts['unknown']} unknown"
        + (f": {_SUMMARY[bool(counts['unknown'])]}." if not counts["fail"] else ".")
    )
