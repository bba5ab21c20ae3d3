"""`azpg arm principal add`, `list` and `remove`: who programs can be, for the ARM twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from azpg.confirm import confirm
from azpg.output import out, print_json, print_table
from azpg_runtime.commands.arguments import Json, Yes
from azpg_runtime.home import Home

if TYPE_CHECKING:
    from azpg_runtime.arm.identity.identities import Identities, Identity

app = typer.Typer(no_args_is_help=True, help="Service principals and managed identities of the local tenant.")


def _identities() -> Identities:
    from azpg_runtime.arm.identity.identities import Identities  # noqa: PLC0415

    home = Home.from_environment()
    home.create()
    return Identities(home.root / "arm" / "identity")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")], *, json: Json = False
) -> None:
    """Make a service principal, or give the one of this name a new secret, which is shown only now."""
    identities = _identities()
    made, secret = identities.add_application(name)
    variables = {
        "AZURE_TENANT_ID": identities.tenant_id,
        "AZURE_CLIENT_ID": made.client_id,
        "AZURE_CLIENT_SECRET": secret,
    }
    if json:
        print_json({"version": 1, **_shown(made), "environment": variables})
        return
    for variable, value in variables.items():
        typer.echo(f"export {variable}={value}")


@app.command("list")
def list_(*, json: Json = False) -> None:
    """Show every identity; the first is who a program is that names none."""
    found = _identities().all()
    if json:
        print_json({"version": 1, "principals": [_shown(identity) for identity in found]})
        return
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("name", "kind", "object id", "client id", box=None, pad_edge=False)
    for identity in found:
        table.add_row(escape(identity.name), identity.kind, identity.object_id, identity.client_id)
    print_table(table, whole=True)


@app.command()
def remove(
    key: Annotated[str, typer.Argument(metavar="ID", help="A client id or an object id.")],
    *,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove an identity; tokens that it has are good until they end."""
    identities = _identities()
    identity = identities.find(key)
    question = f"Remove the identity {identity.name}, for good?"
    confirm(question, yes=yes, json=json, nothing=f"{identity.name} is as it was.")
    identities.remove(identity.object_id)
    if json:
        print_json({"version": 1, **_shown(identity)})
        return
    from rich.markup import escape  # noqa: PLC0415

    out().print(f"{escape(identity.name)} is removed")


def _shown(identity: Identity) -> dict[str, str]:
    return {
        "name": identity.name,
        "kind": identity.kind.value,
        "object_id": identity.object_id,
        "client_id": identity.client_id,
        "resource_id": identity.resource_id,
    }
