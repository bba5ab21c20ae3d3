"""What a Pulumi stack says of the server it made. Its secrets stay in memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azpg.errors import UsageError
from azpg_provision.errors import TargetUnreachable

OFFLINE = "offline"
"""The stack of `azpg pulumi`, unless another one is named to it."""
_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100}){0,2}")
_PATIENCE = 120
_OUTPUT = ("stack", "output", "--json", "--show-secrets", "--non-interactive")


@dataclass(frozen=True, slots=True)
class StackName:
    """Which stack.

    Attributes:
        name: as Pulumi knows it: STACK, PROJECT/STACK or ORGANISATION/PROJECT/STACK.
        folder: the Pulumi project's.
        offline: whether it is one of `azpg pulumi`, on this machine.
        foreign: whether only a spec names the project, which may be somebody else's.
    """

    name: str
    folder: Path
    offline: bool
    foreign: bool = False

    @classmethod
    def of(cls, name: str, folder: Path | None = None, *, foreign: bool = False) -> StackName:
        """A stack; ``offline`` and ``offline:NAME`` are of `azpg pulumi`. Raises `UsageError`."""
        first, colon, rest = name.partition(":")
        offline = first == OFFLINE
        plain = rest if colon and offline else name
        if not _NAME.fullmatch(plain):
            raise UsageError(
                f"{name!r} is no stack's name: use STACK or ORGANISATION/PROJECT/STACK, and {OFFLINE} or "
                f"{OFFLINE}:STACK for one of `azpg pulumi`."
            )
        where = folder or Path()
        if not where.is_dir():
            raise UsageError(f"the folder {where} is not there: name the Pulumi project's with --cwd.")
        return cls(plain, where, offline, foreign)

    @property
    def command(self) -> str:
        """What makes the stack."""
        program = "azpg pulumi" if self.offline else "pulumi"
        chosen = "" if self.name == OFFLINE and self.offline else f" --stack {self.name}"
        return f"{program} up{chosen}"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the program in infra/ exports, as far as provisioning needs it."""

    server_id: str
    admin_user: str
    admin_password: str | None = field(repr=False)
    ai_endpoint: str | None
    ai_deployments: tuple[str, ...]


def read(stack: StackName) -> Outputs:
    """The outputs of a stack. Raises `TargetUnreachable` if there are none, or Pulumi cannot say."""
    return _checked(stack, _asked(stack))


def twin_environment() -> dict[str, str]:
    """What `azpg arm env` says. Raises `TargetUnreachable`."""
    command = [*_azpg(), "arm", "env", "--json"]
    text = _run("azpg arm env", command, advice="`azpg arm status` tells how the twin is.")
    found: dict[str, str] = json.loads(text)["environment"]
    return found


def _asked(stack: StackName) -> dict[str, Any]:
    advice = f"`{stack.command}` makes the stack; --cwd names its project's folder."
    if stack.offline:
        own = [*_azpg(), "pulumi", "--cwd", str(stack.folder.absolute()), "--stack", stack.name, *_OUTPUT]
        text = _run("azpg pulumi stack output", own, advice=advice)
    else:
        program = shutil.which("pulumi")
        if program is None:
            raise TargetUnreachable(
                "pulumi is not on PATH. Install it as Pulumi's documentation says, or name the server by its "
                "resource id with --server."
            )
        command = [program, *_OUTPUT, "--cwd", str(stack.folder.absolute()), "--stack", stack.name]
        backend = {}
        if stack.foreign:
            backend = {"PULUMI_BACKEND_URL": _backend()}
            advice += " The project's own `backend` counts only where --cwd names the project."
        text = _run("pulumi stack output", command, advice=advice, environment=backend)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TargetUnreachable(
            f"`pulumi stack output` of {stack.name} printed something that is no JSON object."
        )
    return found


def _checked(stack: StackName, outputs: dict[str, Any]) -> Outputs:
    missing = [name for name in ("server_id", "admin_user") if not isinstance(outputs.get(name), str)]
    if missing:
        raise TargetUnreachable(
            f"the stack {stack.name} has no output {' and '.join(missing)}: `{stack.command}` makes the "
            "server, if its program is azpg's; otherwise name the server by its resource id with --server."
        )
    password, endpoint = outputs.get("admin_password"), outputs.get("ai_endpoint")
    deployments = outputs.get("ai_deployments")
    return Outputs(
        outputs["server_id"],
        outputs["admin_user"],
        password if isinstance(password, str) else None,
        endpoint if isinstance(endpoint, str) else None,
        tuple(map(str, deployments)) if isinstance(deployments, list) else (),
    )


def _azpg() -> list[str]:
    # Without -P the present folder comes first where Python looks for modules: somebody else's `azpg` ran.
    return [sys.executable, "-P", "-m", "azpg"]


def _backend() -> str:
    """Where this machine's Pulumi is logged in. Raises `TargetUnreachable` if nowhere.

    A project may name a backend of its own. It would say which server is meant, and have secrets opened with
    what this machine may do: state names the key of a cloud's key service.
    """
    if named := os.environ.get("PULUMI_BACKEND_URL"):
        return named
    home = os.environ.get("PULUMI_CREDENTIALS_PATH") or os.environ.get("PULUMI_HOME") or "~/.pulumi"
    try:
        kept = json.loads((Path(home).expanduser() / "credentials.json").read_bytes())
        current = kept.get("current") if isinstance(kept, dict) else None
    except (OSError, ValueError, RuntimeError):
        current = None
    if not isinstance(current, str) or not current:
        raise TargetUnreachable(
            "Pulumi is logged in nowhere on this machine: run `pulumi login`, set PULUMI_BACKEND_URL, or "
            "name the project's folder with --cwd, so that its own backend counts."
        )
    return current


def _run(what: str, command: list[str], *, advice: str, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints. What it complains of is said in one line; its output never is."""
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "1", "NO_COLOR": "1", **(environment or {})}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TargetUnreachable(f"`{what}` has not ended after {_PATIENCE} seconds.") from None
    if done.returncode:
        lines = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1].removeprefix("azpg: ").removeprefix("error: ") if lines else "it said nothing"
        raise TargetUnreachable(f"`{what}` failed: {said.rstrip('.')}. {advice}")
    return done.stdout
