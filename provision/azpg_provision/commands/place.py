"""The target of a command, which its options name or else the spec does, and the plan for it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from azpg.output import working
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import DEFAULT, read
from azpg_provision.target.opening import open_target
from azpg_provision.target.target import Target
from azpg_provision.target.where import Where

if TYPE_CHECKING:
    from azpg_provision.plan.plan import Plan


def where_of(spec: Spec, folder: Path) -> Where:
    """What a spec in `folder` says of its target."""
    section = spec.target
    azure = section.azure
    return Where(
        local=section.local,
        dsn=section.dsn,
        server=azure.server if azure else None,
        stack=section.stack,
        cwd=folder / section.cwd if section.cwd else folder if section.stack else None,
        user=azure.user if azure else None,
        folder=folder,
    )


def open_place(flags: Where, spec: Path | None) -> tuple[Target, Spec | None]:
    """The target, and the spec if there is one; without `spec`, azpg.yaml is it if it exists.

    Without any of them the target is the local server `default`, as for `azpg psql`.
    """
    path = spec or (Path(DEFAULT) if Path(DEFAULT).exists() else None)
    if path is None:
        return open_target(flags), None
    found = read(path)
    return open_target(flags.over(where_of(found, path.parent))), found


def planned(
    flags: Where, path: Path, *, quick: bool = False, vectors: bool = False, refused: bool = False
) -> tuple[Target, Spec, Plan]:
    """The target, the spec in the file `path`, and the plan for what the server has now.

    `quick` and `vectors` as in `azpg_provision.plan.inspection.inspect`, `refused` as in
    `azpg_provision.plan.planning.plan`.
    """
    from azpg_provision.plan.inspection import inspect  # noqa: PLC0415
    from azpg_provision.plan.planning import plan  # noqa: PLC0415

    target, spec = open_place(flags, path)
    assert spec is not None
    with working(f"Looking at {target.name}"):
        state = inspect(target, spec, quick=quick, vectors=vectors)
    return target, spec, plan(spec, state, refused=refused)


def command(name: str, flags: Where, spec: Path, *words: str, option: str = "") -> str:
    """A command as a person types it to mean the same target.

    Args:
        name: such as ``apply``.
        flags: the options of the target.
        spec: the spec; it is left out where it is the one that is meant without being named.
        words: what else stands behind the name.
        option: of the spec, where it is none of the command's arguments.
    """
    parts = ["azpg", name, *words]
    if spec != Path(DEFAULT):
        parts += [option, str(spec)] if option else [str(spec)]
    for place in ("local", "dsn", "server", "stack", "cwd", "user"):
        if (value := getattr(flags, place)) is not None:
            parts += [f"--{place}", str(value)]
    return shlex.join(parts)
