"""`azpg arm up`, `down`, `status`, `env`, `logs` and `faults`."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azpg.confirm import confirm
from azpg.errors import NotAvailable
from azpg.output import out, print_json, print_table, say, working
from azpg.process import become
from azpg_runtime.commands import principals
from azpg_runtime.commands.arguments import Json, Yes
from azpg_runtime.errors import ArmError
from azpg_runtime.home import Home

if TYPE_CHECKING:
    from azpg_runtime.arm.faults import Plan
    from azpg_runtime.arm.twin import ArmStatus, ArmTwin

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Azure Resource Manager on this machine, for SDKs and Pulumi.",
)
faults = typer.Typer(no_args_is_help=True, help="Make the twin fail on purpose, to try how programs take it.")
app.add_typer(faults, name="faults")
app.add_typer(principals.app, name="principal")


def _twin() -> ArmTwin:
    from azpg_runtime.arm.twin import ArmTwin  # noqa: PLC0415

    return ArmTwin(Home.from_environment())


@app.command()
def up(
    *,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1. \\[default: any that is free]"),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="What servers offer: preview-2024 or azure-2026. \\[default: preview-2024]"),
    ] = None,
    json: Json = False,
) -> None:
    """Start the twin, and print what programs need in their environment: eval "$(azpg arm up)"."""
    twin = _twin()
    with working("Starting the ARM twin") as waiting:
        started = twin.start(port=port, profile=profile, say=waiting)
    if json:
        print_json(twin.status().as_json() | _as_json(twin.environment()))
        return
    say(f"The ARM twin {'is up' if started else 'is up already'} at {twin.status().endpoint}")
    _print_exports(twin.environment())


@app.command()
def down(
    *,
    delete: Annotated[
        bool, typer.Option("--delete", help="Also delete the servers it made and all it remembers, for good.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Stop the twin; the servers that it made go on."""
    twin = _twin()
    servers = twin.servers()
    if delete:
        made = f" and its servers {', '.join(servers)} with all their databases" if servers else ""
        question = f"Delete the ARM twin with all that it remembers{made}, for good?"
        confirm(question, yes=yes, json=json, nothing="The ARM twin is as it was.")
    with working("Stopping the ARM twin") as waiting:
        servers = twin.servers()
        ran = twin.stop(delete=delete, say=waiting)
    if json:
        print_json({"version": 1, "ran": ran, "deleted": delete, "servers": [] if delete else servers})
        return
    out().print("The ARM twin " + ("is deleted" if delete else "is down" if ran else "was down already"))
    if delete:
        _tell_stacks()
    if servers and not delete:
        out().print(f"Its servers go on: {', '.join(servers)}; [bold]azpg down NAME[/] stops one")


@app.command()
def status(*, json: Json = False) -> None:
    """Show how the twin is."""
    found = _twin().status()
    if json:
        print_json(found.as_json())
        return
    _print_status(found)


@app.command()
def env(*, json: Json = False) -> None:
    """Print what programs need in their environment, as lines for a shell: eval "$(azpg arm env)"."""
    environment = _twin().environment()
    if json:
        print_json({"version": 1} | _as_json(environment))
        return
    _print_exports(environment)


@app.command()
def logs(
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1_000_000_000, help="How many of the last lines.")
    ] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
) -> None:
    """Print the end of the twin's log."""
    from shutil import which  # noqa: PLC0415

    path = _twin().files.log
    tail = which("tail")
    if tail is None:
        raise NotAvailable(f"the program tail is missing; the log is {path}.")
    if not path.exists() and not follow:
        raise ArmError("the ARM twin has no log yet.", hint="`azpg arm up` starts it.")
    become(tail, ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", str(path)])


@faults.command()
def add(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="throttle, error, drop, slow or fail.")],
    *,
    rate: Annotated[float, typer.Option(help="Of the requests or operations that match, from 0 to 1.")] = 1.0,
    path: Annotated[str, typer.Option(help="Only where the path matches this pattern with * and ?.")] = "*",
    method: Annotated[str, typer.Option(help="Only this method of requests.")] = "*",
    delay: Annotated[float, typer.Option(help="Seconds, for slow.")] = 2.0,
    times: Annotated[int, typer.Option(min=0, help="How often at most; 0 for no limit.")] = 0,
    seed: Annotated[
        int | None, typer.Option(help="Of all draws, so that they repeat. \\[default: 0]")
    ] = None,
    json: Json = False,
) -> None:
    """Add a fault; a running twin makes it from its next request on."""
    from azpg_runtime.arm.faults import Plan, Rule  # noqa: PLC0415

    rule = Rule(kind, rate, path, method.upper(), delay, times)
    rule.check()
    file = _twin().files.faults
    plan = Plan.load(file)
    plan = Plan((*plan.rules, rule), plan.seed if seed is None else seed)
    Home.from_environment().create()
    file.parent.mkdir(mode=0o700, exist_ok=True)
    plan.save(file)
    _print_plan(plan, json=json)


@faults.command()
def show(*, json: Json = False) -> None:
    """Show the faults that are on."""
    from azpg_runtime.arm.faults import Plan  # noqa: PLC0415

    _print_plan(Plan.load(_twin().files.faults), json=json)


@faults.command()
def off(*, json: Json = False) -> None:
    """Make no more faults."""
    from azpg_runtime.arm.faults import Plan  # noqa: PLC0415

    _twin().files.faults.unlink(missing_ok=True)
    _print_plan(Plan(), json=json)


def _tell_stacks() -> None:
    """Says which stacks still hold what is gone: the next `up` would fail for it."""
    from azpg_runtime.pulumi.stacks import with_resources  # noqa: PLC0415

    if stacks := ", ".join(with_resources(Home.from_environment().root / "pulumi")):
        say(f"Pulumi still lists what is gone, in {stacks}; azpg pulumi refresh, then azpg pulumi up")


def _as_json(environment: dict[str, str]) -> dict[str, Any]:
    from azpg_runtime.arm.identity.rivals import RIVALS  # noqa: PLC0415

    return {"environment": environment, "unset": list(RIVALS)}


def _print_exports(environment: dict[str, str]) -> None:
    from azpg_runtime.arm.identity.rivals import RIVALS  # noqa: PLC0415

    typer.echo(f"unset {' '.join(RIVALS)}")
    for name, value in environment.items():
        typer.echo(f"export {name}={quote(value)}")


def _print_status(found: ArmStatus) -> None:
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    colour = {"running": "green", "stopped": "yellow"}.get(found.state, "red")
    out().print(f"[bold]The ARM twin[/] [{colour}]is {found.state}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if found.endpoint:
        table.add_row("endpoint", found.endpoint)
    if found.state == "silent":
        table.add_row("process", "does not answer; `azpg arm up` starts another")
    if found.subscription_id:
        table.add_row("subscription", found.subscription_id)
    table.add_row("profile", escape(found.profile))
    if found.servers:
        table.add_row("servers", ", ".join(found.servers))
    if found.state == "running":
        table.add_row("use", 'eval "$(azpg arm env)"')
    print_table(table)


def _print_plan(plan: Plan, *, json: bool) -> None:
    if json:
        print_json({"version": 1, "seed": plan.seed, "rules": [asdict(rule) for rule in plan.rules]})
        return
    if not plan.rules:
        out().print("No faults are made.")
        return
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("fault", "rate", "method", "path", "delay", "times", box=None, pad_edge=False)
    for rule in plan.rules:
        delay = f"{rule.delay:g} s" if rule.kind == "slow" else ""
        times = str(rule.times) if rule.times else "any"
        table.add_row(rule.kind, f"{rule.rate:g}", rule.method, escape(rule.path), delay, times)
    print_table(table, whole=True)
    out().print(f"[dim]seed {plan.seed}[/]")
