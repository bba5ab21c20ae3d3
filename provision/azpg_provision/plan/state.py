"""All that a plan is made of: what a server has, and what azpg has noted there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from azpg_provision.column import VectorColumn
from azpg_provision.index.definition import VectorIndex
from azpg_provision.live.model import LiveDatabase, LiveServer

Place = tuple[str, str, str]
"""Schema, table and column."""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database.

    Attributes:
        live: what its catalogues say.
        ledger: whether it has schema azpg.
        version: of that; None where it has none, or is not asked.
        owned: what azpg made, by (kind, name), and of what.
        init: why the next init file that is to run would call what others have put there.
        later_init: the same of those after it, before which the first may put that right.
        columns: its vectorized columns.
        left: those that were, of tables that are there, with their sync.
        former: the roles that own none of these tables any more, and may still use schema azpg.
        in_step: of `columns`, the ones whose sync is as it was installed.
        pending: of those, how many rows have no up-to-date embedding; None where they cannot be counted.
        indexes: of those, the approximate indexes by name.
        texts: why no row could have the text that a column asks for, such as a function that is not there.
        owners: by schema and table, why rows cannot be embedded with the rights of who owns the table.
        rates: rows a second at which a sample of the rows of a column that is to be generated was embedded.
    """

    live: LiveDatabase = field(default_factory=LiveDatabase)
    ledger: bool = False
    version: int | None = None
    owned: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    init: tuple[str, ...] = ()
    later_init: tuple[str, ...] = ()
    columns: Mapping[Place, VectorColumn] = field(default_factory=dict)
    left: Mapping[Place, str] = field(default_factory=dict)
    former: tuple[str, ...] = ()
    in_step: frozenset[Place] = frozenset()
    pending: Mapping[Place, int | None] = field(default_factory=dict)
    indexes: Mapping[Place, Mapping[str, VectorIndex]] = field(default_factory=dict)
    texts: Mapping[Place, str] = field(default_factory=dict)
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rates: Mapping[Place, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """A server, and the databases of the spec that exist on it."""

    server: LiveServer
    databases: Mapping[str, DatabaseState] = field(default_factory=dict)
