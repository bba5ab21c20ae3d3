"""Server parameters: what is set, what is in force, and what may be set to what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row

from azpg.extensions import join, normalise
from azpg.profiles import Offer
from azpg_runtime.errors import ParameterRefused
from azpg_runtime.files import write_atomically
from azpg_runtime.postgres.configuration import OWNED, render
from azpg_runtime.wait import wait_for

EXTENSIONS = "azure.extensions"
_QUERY = """
    SELECT name, coalesce(current_setting(name, true), '') AS value, boot_val AS default, context,
           vartype AS type, short_desc AS description, pending_restart
    FROM pg_settings
    WHERE name NOT LIKE 'azpg.%%' AND (%(name)s::text IS NULL OR name = %(name)s)
    ORDER BY name
"""
_RELOAD_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One server parameter as it stands.

    Attributes:
        context: PostgreSQL's word for when it can change; `internal` cannot, `postmaster` needs a restart.
        pending_restart: whether a set value waits for a restart.
    """

    name: str
    value: str
    default: str | None
    context: str
    type: str
    description: str
    pending_restart: bool

    @property
    def dynamic(self) -> bool:
        """Whether a change takes effect without a restart."""
        return self.context not in {"internal", "postmaster"}

    @property
    def read_only(self) -> bool:
        """Whether the twin itself decides this parameter."""
        return self.context == "internal" or self.name in OWNED


class ParameterFile:
    """The parameters that people set, kept beside the instance."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, str]:
        """What was set. Raises `ParameterRefused` for a file that is damaged."""
        try:
            kept = json.loads(self._path.read_text())
            if not isinstance(kept, dict):
                raise ValueError("it holds no JSON object")
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ParameterRefused(
                f"{self._path} is damaged: {error}.", hint="Delete it and set them again."
            ) from None
        return {str(name): str(value) for name, value in kept.items()}

    def save(self, values: Mapping[str, str]) -> None:
        """Replaces what was set."""
        write_atomically(self._path, json.dumps(dict(sorted(values.items())), indent=2) + "\n")


def read(connection: psycopg.Connection[Any], name: str | None = None) -> list[Parameter]:
    """The parameters of a running server, or the one of that name. Raises `ParameterRefused`."""
    with connection.cursor(row_factory=class_row(Parameter)) as cursor:
        found = cursor.execute(_QUERY, {"name": name}).fetchall()
    if name is not None and not found:
        raise ParameterRefused(
            f"there is no server parameter {name!r}.", hint="`azpg server parameter list` names them all."
        )
    return found


def check_extensions(value: str, offer: Offer) -> str:
    """`value` as `azure.extensions` holds it. Raises `ParameterRefused` for names that are not offered."""
    names = normalise(value)
    refused = [name for name in names if name not in offer.extensions]
    if refused:
        reasons = [f"{name}: {offer.missing[name]}." for name in refused if name in offer.missing]
        raise ParameterRefused(
            f"{', '.join(refused)} cannot be allow-listed on this server.",
            detail=" ".join(reasons),
            hint=f"The allowed values are {', '.join(sorted(offer.extensions))}.",
        )
    return join(names)


def change(
    connection: psycopg.Connection[Any],
    file: ParameterFile,
    configuration: Path,
    *,
    complaint: Callable[[str, str], str],
    name: str,
    value: str,
    offer: Offer,
) -> Parameter:
    """Sets a parameter of a running server and returns how it stands then.

    `configuration` is the file that the server includes, `connection` the superuser's, in autocommit;
    `complaint` tells what PostgreSQL has against a value, before anything changes. Raises `ParameterRefused`.
    """
    (before,) = read(connection, name)
    if before.read_only:
        raise ParameterRefused(f"the server parameter {name!r} is read-only.")
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in value):
        raise ParameterRefused(f"the value for {name!r} has control characters, or is not UTF-8.")
    if name == EXTENSIONS:
        value = check_extensions(value, offer)
    kept = file.load()
    wanted = kept | {name: value}
    said = complaint(name, value)
    if said:
        raise ParameterRefused(
            f"{value!r} is not allowed for {name!r}: {said.rstrip('.')}.", detail=_allowed(connection, name)
        )
    write_atomically(configuration, render(wanted))
    file.save(wanted)
    loaded = "SELECT pg_conf_load_time()"
    earlier = connection.execute(loaded).fetchone()
    connection.execute("SELECT pg_reload_conf()")
    if not wait_for(lambda: connection.execute(loaded).fetchone() != earlier, timeout=_RELOAD_TIMEOUT):
        raise ParameterRefused(
            f"{name!r} is set, but the server has not read it within {_RELOAD_TIMEOUT:g} s.",
            hint="It will; see `azpg server parameter show`.",
        )
    (after,) = read(connection, name)
    return after


def _allowed(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute(
        "SELECT vartype, unit, min_val, max_val, enumvals FROM pg_settings WHERE name = %s", [name]
    ).fetchone()
    assert row is not None
    kind, unit, low, high, words = row
    match kind:
        case "enum":
            return f"Allowed are {', '.join(words)}."
        case "integer" | "real":
            return f"Allowed is a number from {low} to {high}{f', unit {unit}' if unit else ''}."
        case "bool":
            return "Allowed are on and off."
        case _:
            return ""
