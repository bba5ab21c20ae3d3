"""What a server has, as far as a spec asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Privilege = tuple[str, str, str | None, str]
"""Role, schema, table or None for the schema itself, privilege."""


@dataclass(frozen=True, slots=True)
class LiveExtension:
    """An extension that a database has or could have.

    Attributes:
        default: the version that it would get.
        versions: those that the server carries.
        installed: the installed version, None if it is not installed.
        schema: the one that it is in.
    """

    default: str
    versions: frozenset[str]
    installed: str | None = None
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column of a table; `type` as ``format_type`` prints it, `expression` what it is generated of."""

    type: str
    not_null: bool
    generated: bool
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table, view or whatever goes by its name.

    Attributes:
        kind: ``pg_class.relkind``.
        partition: whether it is a part of another.
        persistence: ``pg_class.relpersistence``.
        rows, bytes: an estimate of its rows, counted before its first ANALYZE, and what it takes.
        owned: whether the role that asks owns it, or is a member of the role that does.
        columns: by name, in order.
        keys: the columns of each unique index without NULLs, the primary key's first.
        primary: whether the first of `keys` is the primary key.
        inherited: whether other tables inherit from it, whose rows are seen among its own.
        inherits: whether it inherits from another, or is a part of one.
        hides: whether row-level security hides rows from the role that asks.
        later: triggers that change a row after azpg's own has seen it, and those of azpg's (see
            `azpg_provision.plan.wanted.without_own`): their names, and what of schema azpg they call.
        other_keys: as `keys`, of those that tell rows apart otherwise than their types' own comparison does.
        temporal_keys: of those, the ones WITHOUT OVERLAPS.
    """

    kind: str
    partition: bool
    persistence: str
    rows: int
    bytes: int
    owned: bool
    columns: Mapping[str, LiveColumn]
    keys: tuple[tuple[str, ...], ...]
    primary: bool
    inherited: bool = False
    inherits: bool = False
    hides: bool = False
    later: tuple[tuple[str, str | None], ...] = ()
    other_keys: tuple[tuple[str, ...], ...] = ()
    temporal_keys: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class LiveDatabase:
    """A database that exists.

    Attributes:
        places: the schemas, and with their schema the tables, that grants name.
        others: the tables of people that there are, with their schemas, if one that is wanted is not there.
    """

    extensions: Mapping[str, LiveExtension] = field(default_factory=dict)
    tables: Mapping[tuple[str, str], LiveTable] = field(default_factory=dict)
    privileges: frozenset[Privilege] = frozenset()
    places: frozenset[tuple[str, str | None]] = frozenset()
    others: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A server.

    Attributes:
        name: the target's.
        manageable: whether its server parameters can be set and it can be restarted.
        version: such as 180004.
        admin: the role that asks.
        allowed: `azure.extensions`; None where there is no such parameter, so that all are allowed.
        offered: what `azure.extensions` may hold; None where that cannot be known.
        preload: `shared_preload_libraries`; None where that cannot be seen.
        preloadable: what that may hold; None where that cannot be known.
        pending_restart: whether its value waits for a restart.
        available: the extensions that the server carries, by name.
        databases: those of the spec that exist, by name.
        roles: every role.
        members: the wanted memberships that there are: (role, member of).
        settings: of azure_local_ai; None where no database has it.
        models: the metadata of each wanted model, None for one that is not registered; None where no database
            has azure_local_ai.
        registered: the URIs that models are registered by, also where no database has azure_local_ai; None
            where that cannot be known.
        model_troubles: by the URIs of wanted models, why the server could not register them.
        missing_libraries: of the wanted libraries, those that the server could not preload, and why.
    """

    name: str
    manageable: bool
    version: int
    admin: str
    allowed: tuple[str, ...] | None
    offered: frozenset[str] | None
    preload: tuple[str, ...] | None
    preloadable: frozenset[str] | None
    pending_restart: bool
    available: Mapping[str, LiveExtension]
    databases: Mapping[str, LiveDatabase]
    roles: frozenset[str]
    members: frozenset[tuple[str, str]]
    settings: Mapping[str, str] | None
    models: Mapping[str, Mapping[str, Any] | None] | None
    registered: frozenset[str] | None = None
    model_troubles: Mapping[str, str] = field(default_factory=dict)
    missing_libraries: Mapping[str, str] = field(default_factory=dict)
