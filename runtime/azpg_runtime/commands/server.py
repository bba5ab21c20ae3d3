"""`azpg server parameter`, after the Azure CLI's `az postgres flexible-server parameter`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from azpg.errors import AzpgError
from azpg.output import out, print_json, print_table
from azpg_runtime.commands.arguments import Json, OnInstance, TakesNegativeNumbers
from azpg_runtime.home import DEFAULT_INSTANCE, Home

if TYPE_CHECKING:
    from azpg_runtime.postgres.parameters import Parameter

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look after a local server.")
parameter = typer.Typer(no_args_is_help=True, help="List, show, set and reset server parameters.")
app.add_typer(parameter, name="parameter")

_NARROW = 72
"""Columns of a terminal on which a long name may be broken, so that the value has room."""


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """The parameters of the instance at hand whose names begin like that, for a shell that completes."""
    from azpg_runtime.postgres import definitions  # noqa: PLC0415

    with suppress(AzpgError):
        instance = Home.from_environment().instance(context.params.get("local") or DEFAULT_INSTANCE)
        known = definitions.load(instance.conf / "definitions.json")
        return [name for name in known if name.startswith(incomplete)]
    return []


ParameterName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The parameter's name, such as azure.extensions.", autocompletion=_names
    ),
]


@parameter.command("list")
def list_(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Only names with this in them; * and ? stand for others.")
    ] = "",
    *,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that were set, or that wait for a restart.")
    ] = False,
    local: OnInstance = DEFAULT_INSTANCE,
    json: Json = False,
) -> None:
    """List the server parameters.

    Example: azpg server parameter list work_mem
    """
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    found = [one for one in Instance(local).parameters() if _fits(one.name, pattern)]
    if changed:
        found = [one for one in found if _is_set(one) or one.is_config_pending_restart]
    if json:
        print_json({"version": 1, "parameters": [asdict(one) for one in found]})
        return
    if not found:
        named = f" with {pattern!r} in its name" if pattern else ""
        out().print(f"No server parameter{named}{' was set' if changed else ''}.", markup=False)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=out().width > _NARROW, overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("effect")
    table.add_column("source")
    for one in found:
        style = "bold" if _is_set(one) else ""
        table.add_row(one.name, escape(_value(one)), _when(one), _source(one), style=style)
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
    table.add_row("source", _source(found))
    table.add_row("type", found.data_type)
    table.add_row("allowed values", escape(found.allowed_values.replace(",", ", ") or "any text"))
    table.add_row("takes effect", {"restart": "after a restart"}.get(_when(found), _when(found)))
    for subject, remark in found.remarks.items():
        table.add_row("note", escape(f"{subject}: {remark}"))
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
            out().print(f"[dim]{escape(f'{subject}: {remark}')}[/]")


def _value(one: Parameter) -> str:
    between = " x " if one.unit[:1].isdigit() else " " if one.unit else ""
    return f"{one.value}{between}{one.unit}"


def _when(one: Parameter) -> str:
    return "never" if one.is_read_only else "at once" if one.is_dynamic_config else "restart"


def _is_set(one: Parameter) -> bool:
    return one.source == "user-override"


def _source(one: Parameter) -> str:
    return "set" if _is_set(one) else "default"


def _fits(name: str, pattern: str) -> bool:
    """Whether a name has the pattern in it, or as a whole fits one with wildcards."""
    wanted = pattern.lower()
    return fnmatchcase(name.lower(), wanted if set("*?") & set(wanted) else f"*{wanted}*")
