"""`azpg server parameter`, after the Azure CLI's `az postgres flexible-server parameter`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from azpg.output import out, print_json, print_table
from azpg_runtime.commands.arguments import Json, OnInstance, TakesNegativeNumbers
from azpg_runtime.home import DEFAULT_INSTANCE

if TYPE_CHECKING:
    from azpg_runtime.postgres.parameters import Parameter

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look after a local server.")
parameter = typer.Typer(no_args_is_help=True, help="List, show, set and reset server parameters.")
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
    folded = (Column(header, overflow="fold") for header in ("name", "value"))
    table = Table(*folded, "unit", "takes effect", "set by", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, escape(one.value), one.unit, _when(one), _source(one))
    print_table(table)


@parameter.command()
def show(name: ParameterName, *, local: OnInstance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Show one server parameter."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    found = Instance(local).parameter(name)
    if json:
        print_json({"version": 1, **asdict(found)})
        return
    table = Table(Column(style="dim"), Column(overflow="fold"), box=None, show_header=False, pad_edge=False)
    table.add_row("name", found.name)
    table.add_row("value", escape(_value(found)))
    if found.is_config_pending_restart:
        table.add_row("in force", escape(found.in_force or "") + ", until `azpg restart`")
    table.add_row("default", escape(found.default_value))
    table.add_row("set by", _source(found))
    table.add_row("type", found.data_type)
    table.add_row("allowed values", escape(found.allowed_values.replace(",", ", ") or "any text"))
    table.add_row("takes effect", _when(found))
    for subject, remark in found.remarks.items():
        table.add_row("note", f"{subject}: {escape(remark)}")
    table.add_row("meaning", escape(found.description))
    print_table(table)


@parameter.command("set", cls=TakesNegativeNumbers)
def set_(
    name: ParameterName,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")],
    *,
    local: OnInstance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """Set a server parameter."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    _report(Instance(local).set_parameter(name, value), local, json=json)


@parameter.command()
def reset(name: ParameterName, *, local: OnInstance = DEFAULT_INSTANCE, json: Json = False) -> None:
    """Return a server parameter to its default."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    _report(Instance(local).reset_parameter(name), local, json=json)


def _report(found: Parameter, local: str, *, json: bool) -> None:
    if json:
        print_json({"version": 1, **asdict(found)})
        return
    waits = ""
    if found.is_config_pending_restart:
        suffix = "" if local == DEFAULT_INSTANCE else f" {local}"
        waits = f", after `azpg restart{suffix}`"
    out().print(f"[bold]{found.name}[/] = {escape(_value(found))}{waits}")
    names = found.value.split(",")
    for subject, remark in found.remarks.items():
        if subject in names:
            out().print(f"[dim]{subject}: {escape(remark)}[/]")


def _value(one: Parameter) -> str:
    between = " x " if one.unit[:1].isdigit() else " " if one.unit else ""
    return f"{one.value}{between}{one.unit}"


def _when(one: Parameter) -> str:
    return "never" if one.is_read_only else "at once" if one.is_dynamic_config else "after a restart"


def _source(one: Parameter) -> str:
    return "a person" if one.source == "user-override" else "default"
