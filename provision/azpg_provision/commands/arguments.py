"""Options that several commands share: the spec, and which server."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from azpg.extras import need
from azpg_provision.target.where import Where

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The spec.")]
SpecOption = Annotated[
    Path | None,
    typer.Option("--spec", "-f", metavar="SPEC", help="The spec that names the target \\[azpg.yaml]."),
]
Database = Annotated[str | None, typer.Option("--database", "-d", metavar="NAME", help="Only this database.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


def _target(*names: str, metavar: str, help: str) -> Any:  # noqa: A002 - as Typer calls it
    panel = "Target, in place of the spec's"
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


_TARGET = {
    "local": Annotated[str | None, _target("--local", "-l", metavar="NAME", help="A local server.")],
    "dsn": Annotated[
        str | None,
        _target(
            "--dsn",
            metavar="DSN",
            help="A connection string without a password, or where one is: env:VARIABLE, file:PATH.",
        ),
    ],
    "server": Annotated[
        str | None, _target("--server", metavar="ID", help="A server on Azure, by its resource id.")
    ],
    "stack": Annotated[str | None, _target("--stack", metavar="NAME", help="A Pulumi stack's server.")],
    "cwd": Annotated[
        Path | None, _target("--cwd", metavar="FOLDER", help="The folder of the stack's project.")
    ],
    "user": Annotated[str | None, _target("--user", metavar="ROLE", help="The role to log in as.")],
}


def names_target(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that name a target; it gets them as one argument, `flags`.

    Such a command works with what the extra [provision] brings: without that it says so, and nothing else.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "flags"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _TARGET.items()
    ]

    @wraps(command)
    def called(**given: Any) -> None:
        need("provisioning", "provision", "matplotlib", "pglast", "pydantic", "yaml")
        command(flags=Where(**{name: given.pop(name) for name in _TARGET}), **given)

    # Typer reads the signature, and the annotations beside it.
    called.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in (*own, *options)}
    return called
