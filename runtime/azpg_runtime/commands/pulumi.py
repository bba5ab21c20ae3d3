"""`azpg pulumi`: the Pulumi command line with no cloud behind it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from azpg.extras import need
from azpg.output import working
from azpg_runtime.errors import PulumiError
from azpg_runtime.home import Home

app = typer.Typer(add_completion=False)
_ONLY_READS = ["stack", "output"]
"""Who asks for outputs wants no new stack, should there be none."""


# What is not ours is Pulumi's.
@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] COMMAND ...",
)
def pulumi(
    context: typer.Context,
    *,
    cwd: Annotated[
        Path, typer.Option("--cwd", "-C", metavar="FOLDER", help="The project's folder, or one in it.")
    ] = Path(),
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack.")] = "offline",
) -> None:
    """Run pulumi (up, preview, destroy, stack output …) against the ARM twin, started if need be.

    The program runs as it stands. State, secrets and settings of offline stacks live in AZPG_HOME.
    What comes after -- is Pulumi's alone: `azpg pulumi -- up --help`.
    """
    need(
        "azpg pulumi",
        "pulumi",
        "azure.identity",
        "azure.mgmt.core",
        "grpc",
        "pip",
        "pulumi",
        "pulumi_azure_native",
    )
    found = shutil.which("pulumi")
    if found is None:
        raise PulumiError(
            "pulumi is not on PATH",
            hint="Install it as Pulumi's documentation says; or run `make tools` in azpg's sources, and put "
            "their .cache/tools on PATH.",
        )
    program = str(Path(found).absolute())  # it is run from another folder
    from azpg_runtime.arm.twin import ArmTwin  # noqa: PLC0415
    from azpg_runtime.pulumi.caller import without_cloud  # noqa: PLC0415
    from azpg_runtime.pulumi.workspace import Workspace, find_project  # noqa: PLC0415

    home = Home.from_environment()
    workspace = Workspace(home, find_project(cwd), stack)
    with workspace.alone():
        workspace.prepare()
    twin = ArmTwin(home)
    with working("Starting the ARM twin"):
        twin.start()
    environment = {**without_cloud(os.environ), **twin.environment(), **workspace.environment()}

    def run(*arguments: str, secret: str | None = None) -> None:
        done = subprocess.run(
            [program, *arguments],
            cwd=workspace.folder,
            env=environment,
            input=secret,
            stdin=subprocess.DEVNULL if secret is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PulumiError(f"`pulumi {' '.join(arguments)}` failed: {done.stderr.strip()}")

    with workspace.alone():
        if not workspace.exists and context.args[:2] != _ONLY_READS:
            run("stack", "init", "--non-interactive", stack)
        for key in workspace.missing_secrets() if workspace.exists else []:
            run("config", "set", "--secret", "--non-interactive", key, secret=workspace.new_secret())
    os.chdir(workspace.folder)
    os.execve(program, ["pulumi", *(context.args or ["--help"])], environment)
