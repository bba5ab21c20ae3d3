"""`azpg server parameter list|show|set`, after the Azure CLI's `az postgres flexible-server parameter`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from azpg.output import out, print_json, print_table
from azpg_runtime.commands.arguments import Json, OnInstance, TakesNegativeNumbers
from azpg_runtime.home import DEFAULT_INSTANCE

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look after a local server.")
parameter = typer.Typer(no_args_is_help=True, help="List, show and set server parameters.")
app.add_typer(parameter, name="parameter")

ParameterName = Annotated[
    str, typer.Argument(metavar="NAME", help="The parameter's name, such as azure.extensions.")
]


@parameter.command("list")
def list_(*, local: OnInstance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """List all server parameters."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    found = Instance(local).parameters()
    if json:
        print_json({"version": 1, "parameters": [asdict(one) for one in found]})
        return
    table = Table("name", Column("value", overflow="fold"), "a change takes effect", box=None, pad_edge=False)
    for one in found:
        when = "never" if one.read_only else "at once" if one.dynamic else "after a restart"
        table.add_row(one.name, escape(one.value), when)
    print_table(table)


@parameter.command()
def show(name: ParameterName, *, local: OnInstance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Show one server parameter."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    instance = Instance(local)
    found = instance.parameter(name)
    offer = instance.offer if name == "azure.extensions" else None
    if json:
        allowed = {"allowed_values": sorted(offer.extensions), "missing": offer.missing} if offer else {}
        print_json({"version": 1, **asdict(found), **allowed})
        return
    table = Table(Column(style="dim"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    for key, value in asdict(found).items():
        table.add_row(key, escape(str(value)))
    if offer:
        table.add_row("allowed values", ", ".join(sorted(offer.extensions)))
        for extension, reason in offer.missing.items():
            table.add_row("not offered", f"{extension}: {reason}")
    print_table(table)


@parameter.command("set", cls=TakesNegativeNumbers)
def set_(
    name: ParameterName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")],
    *,
    local: OnInstance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Set a server parameter of a running server."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    found = Instance(local).set_parameter(name, value)
    if json:
        print_json({"version": 1, **asdict(found)})
        return
    if found.pending_restart:
        suffix = "" if local == DEFAULT_INSTANCE else f" {local}"
        out().print(
            f"[bold]{found.name}[/] changes at the next start: `azpg down{suffix}` and `azpg up{suffix}`"
        )
    else:
        out().print(f"[bold]{found.name}[/] = {escape(found.value)}")
