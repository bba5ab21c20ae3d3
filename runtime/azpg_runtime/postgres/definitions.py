"""What server parameters there are: read from a running server, kept for when it does not run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import write_atomically

_QUERY = """
    SELECT name, vartype AS type, boot_val AS default, context, coalesce(unit, '') AS unit, min_val AS least,
           max_val AS greatest, coalesce(enumvals, '{}') AS words, short_desc AS description
    FROM pg_settings
    WHERE name NOT LIKE 'azpg.%'
    ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Definition:
    """What PostgreSQL says of one parameter, whatever its value.

    Attributes:
        type: `bool`, `integer`, `real`, `enum` or `string`.
        default: PostgreSQL's own default, in `unit`; None where it has none.
        context: PostgreSQL's word for when it can change; `internal` cannot, `postmaster` needs a restart.
        unit: of numbers, such as kB or 8kB or ms; '' for none.
        least: smallest number; None for what is no number.
        greatest: largest number.
        words: the values of an enum.
    """

    name: str
    type: str
    default: str | None
    context: str
    unit: str
    least: str | None
    greatest: str | None
    words: list[str]
    description: str

    @property
    def allowed(self) -> str:
        """What it may be, in the form of Azure's allowedValues; '' for any text."""
        match self.type:
            case "bool":
                return "on,off"
            case "integer" | "real":
                return f"{self.least}-{self.greatest}"
            case _:
                return ",".join(self.words)

    @property
    def advice(self) -> str:
        """What it may be, as a sentence; '' for any text."""
        match self.type:
            case "bool":
                return "Allowed are on and off."
            case "integer" | "real":
                unit = f", unit {self.unit}" if self.unit else ""
                return f"Allowed is a number from {self.least} to {self.greatest}{unit}."
            case "enum":
                return f"Allowed are {', '.join(self.words)}."
            case _:
                return ""


def read(connection: psycopg.Connection[Any]) -> list[Definition]:
    """The definitions of a running server, by name."""
    with connection.cursor(row_factory=class_row(Definition)) as cursor:
        return cursor.execute(_QUERY).fetchall()


def save(path: Path, definitions: list[Definition]) -> None:
    """Keeps definitions for `load`."""
    write_atomically(path, json.dumps([asdict(definition) for definition in definitions]) + "\n")


def load(path: Path) -> dict[str, Definition]:
    """What `save` kept, by name. Raises `InstanceError` where nothing is kept yet, or it is damaged."""
    try:
        found = [Definition(**kept) for kept in json.loads(path.read_text())]
    except FileNotFoundError:
        raise InstanceError(
            "the server's parameters are not known before its first start.", hint="Start it with `azpg up`."
        ) from None
    except (ValueError, TypeError) as error:
        raise InstanceError(f"{path} is damaged: {error}.", hint="`azpg restart` writes it anew.") from None
    return {definition.name: definition for definition in found}
