"""The target of a command: what its options name, else what the spec does."""

from __future__ import annotations

from pathlib import Path

from azpg.errors import UsageError
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import DEFAULT, read
from azpg_provision.target.opening import open_target
from azpg_provision.target.target import Target
from azpg_provision.target.where import Where


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

    Raises `UsageError` when neither options nor a spec name a target.
    """
    path = spec or (Path(DEFAULT) if Path(DEFAULT).exists() else None)
    if path is None:
        if flags.place is None:
            raise UsageError(
                f"no target is named, and there is no {DEFAULT} here: use --local NAME, --dsn, --server ID, "
                "--stack NAME, or name a spec."
            )
        return open_target(flags), None
    found = read(path)
    return open_target(flags.over(where_of(found, path.parent))), found
