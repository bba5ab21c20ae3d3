"""`azpg ca`."""

from __future__ import annotations

from typing import Annotated

import typer

from azpg_runtime.home import Home


def ca(
    *, pem: Annotated[bool, typer.Option("--pem", help="Print the certificate itself, not its path.")] = False
) -> None:
    """Print the path of the CA certificate that clients are to trust; the first time, make the CA."""
    from azpg_runtime.certificates import Authority  # noqa: PLC0415

    home = Home.from_environment()
    home.create()
    authority = Authority(home.ca)
    authority.certificate()
    typer.echo(authority.path.read_text().rstrip("\n") if pem else authority.path)
