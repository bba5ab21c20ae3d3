"""One difference between what a spec asks and what a server has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from azpg_provision.spec.identifier import quoted


class Action(StrEnum):
    """What is done about a difference."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    """Drops what azpg owns and makes it anew; only with `--allow-replace`."""


class Kind(StrEnum):
    """What differs. Changes are done in this order."""

    ALLOWED_EXTENSION = "allowed_extension"
    PRELOADED_LIBRARY = "preloaded_library"
    RESTART = "restart"
    DATABASE = "database"
    EXTENSION = "extension"
    SETTING = "setting"
    MODEL = "model"
    LEDGER = "ledger"
    INIT = "init"
    GRANT = "grant"
    COLUMN = "column"
    SYNC = "sync"
    ROWS = "rows"
    INDEX = "index"


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        database: None for what belongs to the server.
        name: of what changes, such as ``public.products.embedding``.
        before, after: what is there and what will be, as JSON has it; None where there is nothing.
        note: what a person should know before saying yes, such as how many rows are rewritten.
    """

    action: Action
    kind: Kind
    database: str | None
    name: str
    before: Any = None
    after: Any = None
    note: str = field(default="", compare=False)

    def as_json(self) -> dict[str, Any]:
        """The change as --json prints it."""
        return {
            "action": self.action.value,
            "kind": self.kind.value,
            "database": self.database,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "note": self.note,
        }

    @property
    def what(self) -> str:
        """What is changed, such as ``extension vector``."""
        return f"{self.kind.value.replace('_', ' ')} {self.name}"

    def __str__(self) -> str:
        """The change in words, such as ``create extension vector in shop``."""
        where = f" in {quoted(self.database)}" if self.database is not None else ""
        return f"{self.action.value} {self.what}{where}"
