"""What several checks look at, asked for once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import psycopg

from azpg.errors import AzpgError
from azpg.extensions import normalise
from azpg.profiles import Sku
from azpg_provision.preflight.facts import Facts, of_azure, of_twin
from azpg_provision.target.connecting import begin_read_only
from azpg_provision.target.target import Connection, Target

if TYPE_CHECKING:
    from azure.mgmt.postgresqlflexibleservers import models

    from azpg_provision.target.azure import AzureTarget
    from azpg_provision.target.local import LocalTarget


class NotKnown(Exception):
    """A check that has nothing to look at; the message says why, the second argument what to do."""

    def __init__(self, reason: str, action: str = "") -> None:
        super().__init__(reason)
        self.action = action


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something could not be had."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for once, or the error that came instead."""

    value: Any = None
    error: Exception | None = None


class Site:
    """A target under examination. What was asked once is kept, failures too.

    Args:
        target: the server.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._sessions: dict[str, Connection | Trouble] = {}
        self._answers: dict[tuple[str, ...], Answer] = {}

    def close(self) -> None:
        """Ends the sessions."""
        for one in self._sessions.values():
            if isinstance(one, psycopg.Connection):
                one.close()

    @property
    def azure(self) -> AzureTarget | None:
        """The target, if it is on Azure."""
        return cast("AzureTarget", self.target) if self.target.kind == "azure" else None

    @property
    def local(self) -> LocalTarget | None:
        """The target, if it is a local server."""
        return cast("LocalTarget", self.target) if self.target.kind == "local" else None

    @cached_property
    def _facts(self) -> Facts | Trouble | None:
        try:
            if self.azure is not None:
                return of_azure(self.azure)
            return of_twin(self.local) if self.local is not None else None
        except AzpgError as error:
            return Trouble(str(error))

    @property
    def unreadable(self) -> str | None:
        """Why the server's own properties cannot be read, or None if they can, or there are none."""
        return self._facts.reason if isinstance(self._facts, Trouble) else None

    @property
    def facts(self) -> Facts:
        """The server's properties. Raises `NotKnown`."""
        if isinstance(self._facts, Trouble):
            raise NotKnown("It is not known while the server cannot be read (see `server`).")
        if self._facts is None:
            raise NotKnown(
                "A connection string says nothing of the server around it.",
                "Name a server on Azure with --server or --stack to have this looked at.",
            )
        return self._facts

    def _once(self, ask: Callable[..., Any], *arguments: str) -> Any:
        """The answer to the first time that it is asked; an error counts as one, and is raised again."""
        key = (ask.__name__, *arguments)
        if key not in self._answers:
            try:
                self._answers[key] = Answer(ask(*arguments))
            except Exception as error:
                self._answers[key] = Answer(error=error)
        found = self._answers[key]
        if found.error is not None:
            raise found.error
        return found.value

    @property
    def capabilities(self) -> models.Capability:
        """What the region of a server on Azure offers. Raises `NotKnown`, and azure-core's errors."""
        assert self.azure is not None
        found: list[models.Capability] = self._once(self.azure.management.capabilities, self.facts.location)
        if not found:
            raise NotKnown(f"Azure says nothing of {self.facts.location}.")
        return found[0]

    def allowed_values(self, parameter: str) -> frozenset[str] | None:
        """See `Target`."""
        found: frozenset[str] | None = self._once(self.target.allowed_values, parameter)
        return found

    def names(self, parameter: str) -> list[str]:
        """What a list parameter holds."""
        return normalise(self._once(self.target.parameter, parameter))

    def session(self, database: str = "postgres") -> Connection:
        """A login, kept, in a transaction that reads only. Raises `NotKnown`."""
        if database not in self._sessions:
            try:
                self._sessions[database] = session = self.target.connect(database)
                begin_read_only(session)
            except AzpgError as error:
                self._sessions[database] = Trouble(str(error))
        found = self._sessions[database]
        if isinstance(found, Trouble):
            raise NotKnown("It is not known without a login (see `login`).")
        return found

    def refusal(self, database: str = "postgres") -> str | None:
        """Why there is no login, or None if there is one."""
        try:
            self.session(database)
        except NotKnown:
            found = self._sessions[database]
            assert isinstance(found, Trouble)
            return found.reason
        return None

    def row(self, query: str, *values: Any, database: str = "postgres") -> tuple[Any, ...]:
        """The only row of a query. Raises `NotKnown`, and psycopg's errors."""
        session = self.session(database)
        with session.transaction():  # a check that fails fails for itself
            found = session.execute(query.encode(), values or None).fetchone()
        assert found is not None
        return found

    def has(self, extension: str, database: str) -> bool:
        """Whether an extension is in a database; False for a database that does not let us in."""
        return bool(self._once(self._has, extension, database))

    def _has(self, extension: str, database: str) -> bool:
        query = (
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) %s"
        )
        return self.refusal(database) is None and bool(self.row(query, extension, database=database)[0])

    def leave(self, database: str) -> None:
        """Ends the session with a database: where there are many, they would take all that the server has."""
        if database != "postgres" and isinstance(found := self._sessions.get(database), psycopg.Connection):
            found.close()
            del self._sessions[database]

    def suits_local_ai(self) -> bool:
        """Whether the size is one on which azure_local_ai was offered. Raises `NotKnown`."""
        size = Sku.parse(self.facts.sku)
        return size.tier == "MemoryOptimized" and size.cores >= 4
