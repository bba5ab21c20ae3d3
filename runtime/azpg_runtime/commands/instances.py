"""`azpg up`, `down`, `restart`, `status`, `dsn`, `psql` and `logs`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from azpg import __version__
from azpg.confirm import confirm
from azpg.errors import AzpgError, NotAvailable, UsageError
from azpg.failures import FAILED, explain
from azpg.output import complain, out, print_json, print_table, working
from azpg.process import become
from azpg.profiles import DEFAULT_PRELOAD
from azpg_runtime.commands.arguments import Database, Json, Name, Yes, instances
from azpg_runtime.errors import InstanceError, InstanceNotFound, InstanceNotRunning
from azpg_runtime.home import DEFAULT_INSTANCE, Home

if TYPE_CHECKING:
    from azpg_runtime.postgres.instance import Status


def up(
    name: Name = DEFAULT_INSTANCE,
    *,
    postgres: Annotated[
        int | None,
        typer.Option(metavar="MAJOR", help="PostgreSQL's major version, 16 or 18. \\[default: 18]"),
    ] = None,
    build: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which PostgreSQL 18: embedded or pixeltable. \\[default: embedded]"
        ),
    ] = None,
    pg_config: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The pg_config of a PostgreSQL 15 to 18 to use instead."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1. \\[default: any that is free]"),
    ] = None,
    tls_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Another one, for TLS. \\[default: any that is free]"),
    ] = None,
    admin: Annotated[
        str | None, typer.Option(metavar="ROLE", help="The server admin's role. \\[default: pgadmin]")
    ] = None,
    location: Annotated[
        str | None, typer.Option(help="Azure region to behave as. \\[default: eastus]")
    ] = None,
    sku: Annotated[str | None, typer.Option(help="Compute size. \\[default: Standard_E4ds_v5]")] = None,
    created_newly: Annotated[
        bool | None,
        typer.Option(
            "--created-newly/--created-before",
            help="Made after the preview of azure_local_ai began, or before. \\[default: after]",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="When it is: preview-2024 or azure-2026. \\[default: preview-2024]"),
    ] = None,
    os_user: Annotated[
        str | None,
        typer.Option(help="As root: the user that PostgreSQL runs as. \\[default: its own]"),
    ] = None,
    model_memory: Annotated[
        int | None,
        typer.Option(min=0, metavar="MB", help="For loaded models; 0 is three quarters of all memory."),
    ] = None,
    json: Json = False,
) -> None:
    """Start a local Flexible Server; the first time, make it with these options."""
    from azpg_runtime.postgres.instance import Instance, Wishes  # noqa: PLC0415

    instance = Instance(name)
    wishes = Wishes(
        major=postgres,
        build=build,
        pg_config=pg_config,
        port=port,
        tls_port=tls_port,
        admin=admin,
        location=location,
        sku=sku,
        created_newly=created_newly,
        profile=profile,
        os_user=os_user,
        model_memory=model_memory,
    )
    with working(f"Starting {name}") as say:
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
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Stop a local server; its data stay."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    instance = Instance(name)
    if delete:
        _ = instance.description
        question = f"Delete the server {name} with all its databases, for good?"
        confirm(question, yes=yes, json=json, nothing=f"{name} is as it was.")
    with working(f"Stopping {name}") as say:
        ran = instance.down(delete=delete, say=say)
    if json:
        print_json({"version": 1, "name": name, "ran": ran, "deleted": delete})
        return
    what = "is deleted" if delete else "is down" if ran else "was down already"
    out().print(f"[bold]{name}[/] {what}")


def restart(name: Name = DEFAULT_INSTANCE, *, json: Json = False) -> None:
    """Stop a local server and start it again, so that static parameters take effect."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    instance = Instance(name)
    with working(f"Restarting {name}") as say:
        instance.restart(say=say)
    status = instance.status()
    if json:
        print_json(status.as_json())
        return
    _print_status(status, "is up again")


def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="The instance's name. Left out: all of them, or default with --json.",
            autocompletion=instances,
        ),
    ] = None,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also what Azure has and this server lacks or waits for.")
    ] = False,
    json: Json = False,
) -> None:
    """Show how the local servers are."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    if json:
        print_json(Instance(name or DEFAULT_INSTANCE).status().as_json())
        return
    if name is not None:
        found = Instance(name).status()
        _print_status(found, f"is {found.state}", verbose=verbose)
        return
    names = Home.from_environment().instance_names()
    if not names:
        out().print("There is no local server yet; [bold]azpg up[/] makes one.")
    failed = False
    for number, one in enumerate(names):
        try:
            found = Instance(one).status()
        except InstanceNotFound:  # deleted since it was listed
            continue
        except Exception as error:  # one that is damaged does not hide the others
            reason = explain(error)
            if reason is None:
                raise
            complain(f"{one}: {reason}")
            failed = True
            continue
        if number:
            out().print()
        _print_status(found, f"is {found.state}", verbose=verbose)
    if failed:
        raise typer.Exit(FAILED)


def dsn(
    name: Name = DEFAULT_INSTANCE,
    *,
    database: Database = "postgres",
    with_password: Annotated[
        bool,
        typer.Option("--with-password", help="Put the password into it, for drivers that are not libpq."),
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="For the port with TLS, which is verified (verify-full).")
    ] = False,
    tcp: Annotated[
        bool,
        typer.Option("--tcp", help="For the port, for drivers that know no Unix sockets (JDBC)."),
    ] = False,
) -> None:
    """Print a connection URI of the server admin, and nothing else."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    with _perhaps_a_database(name, "dsn"):
        typer.echo(Instance(name).dsn(database, with_password=with_password, tls=tls, tcp=tcp))


psql = typer.Typer(add_completion=False)
_HOW_NOT_WHERE = {"PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGOPTIONS", "PGTZ"}


@psql.command(context_settings={"ignore_unknown_options": True})
def open_psql(
    name: Name = DEFAULT_INSTANCE,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENTS", help="psql's own; after -- those that are also ours."),
    ] = None,
    *,
    database: Database = "postgres",
) -> None:
    """Open psql as the server admin."""
    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    given = arguments or []
    if name.startswith("-"):  # `azpg psql -c …`: no name, only arguments
        name, given = DEFAULT_INSTANCE, [name, *given]
    with _perhaps_a_database(name, "psql"):
        instance = Instance(name)
        running = instance.running()
    if not running:
        raise InstanceNotRunning(f"the instance {name!r} does not run.", hint=f"`azpg up {name}` starts it.")
    # What was set for another server, such as PGPASSWORD or PGHOSTADDR, would win over the URI.
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("PG") or key in _HOW_NOT_WHERE
    }
    become(instance.psql(), ["psql", *given, "--dbname", instance.dsn(database)], environment)


@contextmanager
def _perhaps_a_database(name: str, command: str) -> Iterator[None]:
    """Where there is no instance of a name but a database, the error says how to name that."""
    try:
        yield
    except (InstanceNotFound, UsageError) as error:
        if commands := [f"`azpg {command}{_after(one)} -d {quote(name)}`" for one in _having(name)]:
            raise InstanceNotFound(
                f"there is no instance {name!r}, but a database of that name.",
                hint=f"Connect to it by {' or '.join(commands)}.",
            ) from None
        raise error from None


def _having(database: str) -> list[str]:
    """The instances that run and have a database of this name."""
    import psycopg  # noqa: PLC0415

    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    found = []
    for name in Home.from_environment().instance_names():
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        # One that cannot be asked is no reason to say less about the name.
        with suppress(AzpgError, psycopg.Error), Instance(name).superuser() as connection:
            if connection.execute(query, (database,)).fetchone():
                found.append(name)
    return found


def _after(name: str) -> str:
    """An instance's name as a command takes it: left out where it is the default."""
    return "" if name == DEFAULT_INSTANCE else f" {name}"


def logs(
    name: Name = DEFAULT_INSTANCE,
    *,
    host: Annotated[bool, typer.Option("--host", help="The model host's log, not PostgreSQL's.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="The TLS front's log, not PostgreSQL's.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1_000_000_000, help="How many of the last lines.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
) -> None:
    """Print the end of an instance's log."""
    from shutil import which  # noqa: PLC0415

    from azpg_runtime.postgres.instance import Instance  # noqa: PLC0415

    if host and tls:
        raise UsageError("--host and --tls name two logs: use one of them.")
    instance = Instance(name)
    _ = instance.description
    home = instance.home
    path = home.host_log if host else home.tls_log if tls else home.postgres_log
    tail = which("tail")
    if tail is None:
        raise NotAvailable(f"the program tail is missing; the log is {path}.")
    if not path.exists() and not follow:
        raise InstanceError(
            f"the instance {name!r} has no {path.name} yet.", hint=f"`azpg up {name}` starts it."
        )
    become(tail, ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", str(path)])


def _print_status(status: Status, what: str, *, verbose: bool = False) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    colour = {"running": "green", "stopped": "yellow"}.get(status.state, "red")
    out().print(f"[bold]{status.name}[/] [{colour}]{what}[/]")
    suffix = _after(status.name)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if status.state == "degraded":
        table.add_row("wrong", f"[red]{_wrong(status)}[/]; `azpg up{suffix}` puts it right")
    where = f"{status.postgres_version} on {status.host}:{status.port}, admin {status.admin}"
    table.add_row("PostgreSQL", escape(where))
    if status.tls_port:
        table.add_row("TLS", f"{status.host}:{status.tls_port}")
    table.add_row("Azure", escape(f"{status.location}, {status.sku}, {status.profile}"))
    host = {"running": f"process {status.host_pid}", "silent": "does not answer"}
    as_root = f", [yellow]as root[/]: {status.host_as_root}; see `azpg help servers`"
    table.add_row(
        "model host", host.get(status.host_state, "not running") + (as_root if status.host_as_root else "")
    )
    for model in status.models:
        loaded = "loaded" if model["loaded"] else "not loaded"
        table.add_row("model", escape(f"{model['uri']} ({loaded})"))
    for one in status.deployments:
        # It waits for a model that nobody needs who has registered another.
        if one["state"] != "ready" and (verbose or one["state"] != "missing" or not status.models):
            reason = f": {one['reason']}" if one["reason"] else ""
            table.add_row("model", escape(f"{one['uri']} {one['state']}{reason}"))
    # That Azure's defaults are missing is so from the first day on, and harms nobody.
    missing = [name for name in status.not_loaded if verbose or name not in DEFAULT_PRELOAD]
    if missing:
        table.add_row("not loaded", escape(f"{', '.join(missing)}: not in this PostgreSQL"))
    if status.missing_extensions:
        names = escape(", ".join(status.missing_extensions))
        table.add_row(
            "lacking", f"{names}: allow-listed, but not in this PostgreSQL; see `azpg help extensions`"
        )
    if status.outdated:
        parts = " and ".join(status.outdated)
        told = f"[yellow]{parts} of another version[/]; `azpg restart{suffix}` takes {__version__}"
        table.add_row("runs", told)
    if status.pending_restart:
        table.add_row("waiting", escape(f"{', '.join(status.pending_restart)}, for `azpg restart{suffix}`"))
    if status.state == "running":
        table.add_row("connect", f'psql "$(azpg dsn{suffix})"')
    print_table(table)


def _wrong(status: Status) -> str:
    """What of a degraded server does not run."""
    parts = []
    if status.postgres_pid is None:
        parts.append("PostgreSQL does not run")
    if status.host_state != "running":
        parts.append(f"the model host does not {'answer' if status.host_state == 'silent' else 'run'}")
    if status.tls_state != "running":
        parts.append("the TLS front does not run")
    return " and ".join(parts)
