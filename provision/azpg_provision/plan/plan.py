"""A plan: the changes that lead from what a server has to what a spec asks, and what else is to be known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from azpg_provision.errors import PlanRefused
from azpg_provision.plan.change import Action, Change, Kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be planned.

    Attributes:
        reason: with what to do; a sentence.
        kind: of what it is about, `Kind.COLUMN`, `Kind.INDEX` or `Kind.INIT`; None where it is about all.
        database, name: of that, as of a `Change`.
    """

    reason: str
    kind: Kind | None = None
    database: str | None = None
    name: str = ""

    def as_json(self) -> dict[str, Any]:
        """The object that stands for it in --json."""
        return {"kind": self.kind, "database": self.database, "name": self.name, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they are done.

    Attributes:
        notes: what differs and is left alone, such as an init file that was changed after it had run.
        refused: what cannot be planned beside them; such a plan is there to be looked at, not to be applied.
    """

    target: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def restarts(self) -> bool:
        """Whether the server is restarted."""
        return any(change.kind is Kind.RESTART for change in self.changes)

    @property
    def replaced(self) -> list[Change]:
        """What azpg owns and drops to make it anew."""
        return [change for change in self.changes if change.action is Action.REPLACE]

    def check(self, *, allow_restart: bool, allow_replace: bool) -> None:
        """Raises `PlanRefused` if it does more than a person has allowed, or a part of it is refused."""
        if self.refused:
            raise as_error(self.refused)
        if self.restarts and not allow_restart:
            raise PlanRefused(
                f"this plan restarts {self.target}, which ends every session: repeat it with --allow-restart."
            )
        if self.replaced and not allow_replace:
            dropped = " and ".join(_dropped(change) for change in self.replaced)
            raise PlanRefused(f"this plan drops {dropped}: repeat it with --allow-replace.")

    def as_json(self) -> dict[str, Any]:
        """The object that --json prints."""
        return {
            "version": 1,
            "target": self.target,
            "changes": [change.as_json() for change in self.changes],
            "notes": list(self.notes),
            "refused": [refusal.as_json() for refusal in self.refused],
        }


@dataclass(slots=True)
class Draft:
    """A plan in the making: changes in any order, and every reason why it cannot be."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def add(
        self,
        action: Action,
        kind: Kind,
        name: str,
        *,
        database: str | None = None,
        before: Any = None,
        after: Any = None,
        note: str = "",
    ) -> None:
        """Adds a change."""
        self.changes.append(Change(action, kind, database, name, before, after, note))

    def refuse(
        self, reason: str, kind: Kind | None = None, *, database: str | None = None, name: str = ""
    ) -> None:
        """Adds a `Refusal`; its reason stands here without a full stop."""
        self.refused.append(Refusal(reason if reason.endswith("?") else f"{reason}.", kind, database, name))

    def finish(self, target: str, *, refused: bool = False) -> Plan:
        """The plan, in order. Raises `PlanRefused` with every reason.

        With `refused`, only where one of them is about all: what is about a part is in the plan.
        """
        if self.refused and not (refused and all(one.kind is not None for one in self.refused)):
            raise as_error(self.refused)
        order = {kind: number for number, kind in enumerate(Kind)}
        changes = sorted(self.changes, key=lambda change: order[change.kind])
        notes, parts = dict.fromkeys(self.notes), dict.fromkeys(self.refused)
        return Plan(target, tuple(changes), tuple(notes), tuple(parts))


def as_error(refused: Iterable[Refusal]) -> PlanRefused:
    """The error that says every reason, each once."""
    return PlanRefused(*dict.fromkeys(one.reason for one in refused))


def _dropped(change: Change) -> str:
    if change.kind is Kind.INDEX:
        return f"the index of {change.name} and builds another"
    return f"{change.name} with the vectors that there are and makes it anew"
