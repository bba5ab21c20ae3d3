"""A plan: the changes that lead from what a server has to what a spec asks, and what else is to be known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from azpg_provision.errors import PlanRefused
from azpg_provision.plan.change import Action, Change, Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they are done.

    Attributes:
        notes: what differs and is left alone, such as an init file that was changed after it had run.
    """

    target: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def restarts(self) -> bool:
        """Whether the server is restarted."""
        return any(change.kind is Kind.RESTART for change in self.changes)

    @property
    def replaced(self) -> list[Change]:
        """What azpg owns and drops to make it anew."""
        return [change for change in self.changes if change.action is Action.REPLACE]

    def check(self, *, allow_restart: bool, allow_replace: bool) -> None:
        """Raises `PlanRefused` if what the plan does is more than a person has allowed."""
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
        }


@dataclass(slots=True)
class Draft:
    """A plan in the making: changes in any order, and every reason why it cannot be."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

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

    def finish(self, target: str) -> Plan:
        """The plan, in order. Raises `PlanRefused` with every reason."""
        if self.refusals:
            reasons = dict.fromkeys(self.refusals)
            raise PlanRefused(*(text if text.endswith("?") else f"{text}." for text in reasons))
        order = {kind: number for number, kind in enumerate(Kind)}
        changes = sorted(self.changes, key=lambda change: order[change.kind])
        return Plan(target, tuple(changes), tuple(dict.fromkeys(self.notes)))


def _dropped(change: Change) -> str:
    if change.kind is Kind.INDEX:
        return f"the index of {change.name} and builds another"
    return f"{change.name} with the vectors that there are and makes it anew"
