"""Where a spec is wanted, as the command line or the spec says it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from azpg.errors import UsageError

_PLACES = ("local", "dsn", "server", "stack")


@dataclass(frozen=True, slots=True)
class Where:
    """Where a spec is wanted: at most one of the first four, and how to get there.

    Attributes:
        local: a local server's name.
        dsn: a connection string without a password, or where there is one: ``env:VARIABLE``, ``file:PATH``.
        server: a flexible server's resource id.
        stack: a Pulumi stack; ``offline`` or ``offline:NAME`` is one of `azpg pulumi`.
        cwd: the Pulumi project's folder; None for the present one.
        user: the role to log in as on Azure; None for the one that the target says.
        folder: where the path of a reference begins, which the spec names; None for the present one, and
            where the command line says how to get there.
    """

    local: str | None = None
    dsn: str | None = None
    server: str | None = None
    stack: str | None = None
    cwd: Path | None = None
    user: str | None = None
    folder: Path | None = None

    @property
    def place(self) -> str | None:
        """Which of the four is given. Raises `UsageError` if several are."""
        given = [name for name in _PLACES if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(f'--{name}' for name in given)} name a target each: choose one of them."
            )
        return given[0] if given else None

    def over(self, spec: Where) -> Where:
        """This where it says something, else what the spec says.

        A place that is named here replaces the spec's, with all that belongs to it.
        """
        if self.place is not None and self.place != spec.place:
            return self
        given = {one.name: getattr(self, one.name) for one in fields(Where)}
        merged = replace(spec, **{name: value for name, value in given.items() if value is not None})
        named = self.dsn is not None or self.cwd is not None
        return replace(merged, folder=self.folder) if named else merged
