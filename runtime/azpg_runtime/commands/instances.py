"""`azpg up`, `down`, `restart`, `status`, `dsn`, `psql` and `logs`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from azpg.errors import NotAvailable
from azpg.output import out, print_json, say
from azpg_runtime.commands.arguments import Json, Name
from azpg_runtime.home import DEFAULT_INSTANCE, Home

if TYPE_CHECKING:
    from azpg_runtime.postgres.instance import Status


def up(
    name: Name = DEFAULT_INSTANCE,
    *,
    postgres: Annotated[
        int | None, typer.Option(help="PostgreSQL's major version, 16 or 18 [default: 18]")
    ] = None,
    pg_config: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The pg_config of a PostgreSQL 15 to 18 to use instead."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1 [default: any]")
    ] = None,
    tls_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Another one, for TLS [default: any]")
    ] = None,
    admin: Annotated[str | None, typer.Option(help="The server admin's role [default: pgadmin]")] = None,
    location: Annotated[str | None, typer.Option(help="Azure region to behave as [default: eastus]")] = None,
    sku: Annotated[str | None, typer.Option(help="Compute size [default: Standard_E4ds_v5]")] = None,
    created_newly: Annotated[
        bool | None,
        typer.Option(
            "--created-newly/--created-before",
            help="Made after the preview of azure_local_ai began, or before [default: after]",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="preview-2024 or azure-2026 [default: preview-2024]")
    ] = None,
    os_user: Annotated[
        str | None, typer.Option(help="As root: who PostgreSQL runs as [default: azpg]")
    ] = None,
    json: Json = False,
) -> None:
    """Start a local Flexible Server; the first time, make it."""
    from azpg_runtime.postgres.instance import Instance, Wishes  # noqa: PLC0415

    instance = Instance(name)
    wishes = Wishes(
        major=postgres,
        pg_config=pg_config,
        port=port,
        tls_port=tls_port,
        admin=admin,
        location=location,
        sku=sku,
        created_newly=created_newly,
        profile=profile,
        os_user=os_user,
    )
    started = instance.up(wishes, say=say)
    status = instance.status()
    if json:
        print_json(status.as_json())
        return
    _print_status(status, "is up" if started else "is up already")


def down(
    name: Name = DEFAULT_INSTANCE,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Also delete its data, for good.")] = False,
    json: Json = False,
) -> None:
    """Stop a local server; its data stay."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    ran = Instance(name).down(delete=delete, say=say)
    if json:
        print_json({"version": 1, "name": name, "ran": ran, "deleted": delete})
        return
    what = "is deleted" if delete else "is down" if ran else "was down already"
    out().print(f"[bold]{name}[/] {what}")


def restart(name: Name = DEFAULT_INSTANCE, *, json: Json = False) -> None:
    """Stop a local server and start it again, so that static parameters take effect."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    instance = Instance(name)
    instance.restart(say=say)
    status = instance.status()
    if json:
        print_json(status.as_json())
        return
    _print_status(status, "is up again")


def status(
    name: Annotated[
        str | None, typer.Argument(help="The instance's name. Left out: all of them, or default with --json.")
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Show how the local servers are."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    if json:
        print_json(Instance(name or DEFAULT_INSTANCE).status().as_json())
        return
    names = [name] if name else Home.from_environment().instance_names()
    if not names:
        out().print("There is no local server yet; [bold]azpg up[/] makes one.")
    for one in names:
        found = Instance(one).status()
        _print_status(found, f"is {found.state}")


def dsn(
    name: Name = DEFAULT_INSTANCE,
    *,
    database: Annotated[str, typer.Option("--database", "-d", help="The database.")] = "postgres",
    with_password: Annotated[
        bool,
        typer.Option("--with-password", help="Put the password into it, for drivers that are not libpq."),
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="For the port with TLS, which is verified (verify-full).")
    ] = False,
) -> None:
    """Print a connection URI of the server admin, and nothing else."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    typer.echo(Instance(name).dsn(database, with_password=with_password, tls=tls))


def psql(
    name: Name = DEFAULT_INSTANCE,
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of psql, after --.")] = None,
    *,
    database: Annotated[str, typer.Option("--database", "-d", help="The database.")] = "postgres",
) -> None:
    """Open psql as the server admin."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    given = arguments or []
    if name.startswith("-"):  # `azpg psql -- -c …`: no name, only arguments
        name, given = DEFAULT_INSTANCE, [name, *given]
    instance = Instance(name)
    program = instance.program("psql")
    sys.stdout.flush()
    os.execv(program, ["psql", *given, "--dbname", instance.dsn(database)])


def logs(
    name: Name = DEFAULT_INSTANCE,
    *,
    host: Annotated[bool, typer.Option("--host", help="The model host's log, not PostgreSQL's.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
) -> None:
    """Print the end of an instance's log."""
    from shutil import which  # noqa: PLC0415

    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    instance = Instance(name)
    _ = instance.description
    path = instance.home.host_log if host else instance.home.postgres_log
    tail = which("tail")
    if tail is None:
        raise NotAvailable(f"the program tail is missing; the log is {path}.")
    sys.stdout.flush()
    os.execv(tail, ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", str(path)])


def _print_status(status: Status, what: str) -> None:
    console = out()
    colour = {"running": "green", "stopped": "yellow"}.get(status.state, "red")
    console.print(f"[bold]{status.name}[/] [{colour}]{what}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row(
        "PostgreSQL", f"{status.postgres_version} on {status.host}:{status.port}, admin {status.admin}"
    )
    if status.tls_port:
        table.add_row("TLS", f"{status.host}:{status.tls_port}")
    table.add_row("Azure", f"{status.location}, {status.sku}, {status.profile}")
    host = f"process {status.host_pid}" if status.host_pid else "not running"
    table.add_row("model host", host)
    for model in status.models:
        table.add_row("model", f"{model['uri']} ({'loaded' if model['loaded'] else 'not loaded'})")
    if status.not_loaded:
        table.add_row("not loaded", f"{', '.join(status.not_loaded)}: not in this PostgreSQL")
    if status.pending_restart:
        table.add_row("waiting", f"{', '.join(status.pending_restart)}, for `azpg restart`")
    if status.state == "running":
        suffix = "" if status.name == DEFAULT_INSTANCE else f" {status.name}"
        table.add_row("connect", f'psql "$(azpg dsn{suffix})"')
    console.print(table)
