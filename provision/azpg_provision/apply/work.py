"""What every step of an apply has at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import psycopg

from azpg_provision import ledger, live, vectorize
from azpg_provision.apply.reporter import Reporter
from azpg_provision.column import Key, VectorColumn
from azpg_provision.errors import ApplyFailed, TargetUnreachable
from azpg_provision.live.model import LiveTable
from azpg_provision.plan.change import Change
from azpg_provision.plan.wanted import column_of, key_of, without_own, wrong, wrong_dimensions, wrong_text
from azpg_provision.spec.identifier import qualified
from azpg_provision.spec.model import Database, Embedding, Spec, Table
from azpg_provision.sync import acting, schemas
from azpg_provision.target.connecting import renew
from azpg_provision.target.target import Connection, Target

_LOOK = 0.5
"""Seconds after which who uses a session looks whether it is still there."""
_MOST_CHANGES = 50
"""Changes after which a session is another one: PostgreSQL keeps the functions of each column in it, planned,
and looks at all of them whenever anything is changed."""


@dataclass(slots=True)
class _Session:
    """A connection, how many changes were made by it, and when the last one was."""

    connection: Connection
    changes: int = 0
    used: float = 0.0

    def answers(self) -> bool:
        """Whether it is still there, after nobody has used it for a while."""
        if time.monotonic() - self.used > _LOOK and not self.connection.broken:
            with suppress(psycopg.Error):
                self.connection.execute("SELECT")
        return not self.connection.broken and not self.connection.closed


@dataclass(frozen=True)
class Work:
    """A spec on its way to a target.

    Attributes:
        report: told what is waited for, and how far a change is.
        rows: the columns, each with its database, whose rows are a change of their own.
    """

    target: Target
    spec: Spec
    report: Reporter
    rows: frozenset[tuple[str | None, str]] = frozenset()
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _models: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _swept: set[str] = field(default_factory=set)
    _connects: dict[str, vectorize.Connect] = field(default_factory=dict)
    _workers: vectorize.Connections = field(
        default_factory=lambda: vectorize.Connections(vectorize.Options().workers)
    )

    def database(self, change: Change) -> Database:
        """The spec's database that a change is in."""
        return next(one for one in self.spec.databases if one.name == change.database)

    def embedding(self, change: Change) -> tuple[Table, Embedding]:
        """What the spec says of the column that a change is about."""
        return self._embeddings[change.database, change.name]

    def leaves(self, change: Change) -> bool:
        """Whether a change is about a column that the spec does not name."""
        return (change.database, change.name) not in self._embeddings

    @cached_property
    def _embeddings(self) -> dict[tuple[str | None, str], tuple[Table, Embedding]]:
        return {
            (database.name, qualified(table.schema_, table.name, embedding.column)): (table, embedding)
            for database in self.spec.databases
            for table, embedding in database.embeddings()
        }

    def connect(self, change: Change) -> Connection:
        """A connection of its own to a change's database, for what leaves traces in a session."""
        assert change.database is not None
        return self.target.connect(change.database)

    @contextmanager
    def session(self, change: Change) -> Iterator[Connection]:
        """A connection to a change's database, which lasts until a change is in another one.

        What is set in it is set by SET LOCAL; what owners of tables have set is taken out before each change.
        """
        assert change.database is not None
        session = self._sessions.get(change.database)
        if session is None or not session.answers():
            self._end_session()
            session = self._sessions[change.database] = _Session(self.connect(change))
        elif session.changes >= _MOST_CHANGES:
            with suppress(TargetUnreachable):  # such as a server that is full: this one is slow, and there
                another = _Session(self.connect(change))
                self._end_session()
                session = self._sessions[change.database] = another
        if session.changes:
            renew(session.connection)
        try:
            yield session.connection
        finally:
            session.changes += 1
            session.used = time.monotonic()

    @contextmanager
    def sweep(self, change: Change) -> Iterator[bool]:
        """Whether what is kept of columns that are gone is still to be dropped in a change's database.

        Once: all columns are read for that. What ends with an error has not done it.
        """
        assert change.database is not None
        yield change.database not in self._swept
        self._swept.add(change.database)

    def vectorize(
        self,
        change: Change,
        column: VectorColumn,
        tell: vectorize.Tell = vectorize.silent,
        *,
        small: bool = False,
    ) -> vectorize.Outcome:
        """Embeds the rows of a column that wait (`vectorize.run`), by one worker if `small`."""
        assert change.database is not None
        connect = self._connects.setdefault(change.database, partial(self.target.connect, change.database))
        options = vectorize.Options(workers=1) if small else vectorize.Options()
        return vectorize.run(
            connect, column, options, tell=tell, say=self.report.tell, connections=self._workers
        )

    def close(self) -> None:
        """Closes all connections."""
        self._end_session()
        self._workers.close()

    def _end_session(self) -> None:
        while self._sessions:
            self._sessions.popitem()[1].connection.close()

    def column(
        self, connection: Connection, change: Change, *, again: bool = False
    ) -> tuple[VectorColumn, LiveTable]:
        """The column that a change is about as the spec asks for it, and its table as it is now.

        Its number is 0. With `again` its text is not parsed and its model not asked for once more. Raises
        `ApplyFailed` for a table that an init file did not make, or made otherwise.
        """
        table, embedding = self.embedding(change)
        found = live.read_table(connection, table.schema_, table.name)
        if found is None:
            raise ApplyFailed(
                f"there is no table {table.full_name} after the init files have run: make it, or name an "
                "init file that does."
            )
        if found.later:
            numbers = ledger.numbers(connection).get((table.schema_, table.name), set())
            found = without_own(found, numbers, numbers)
        if problems := wrong(table, embedding, found):
            said = "; ".join(problems)
            raise ApplyFailed(said if said.endswith("?") else f"{said}.")
        if not again:
            self._check(connection, table, embedding, key_of(table, found) or ())
        return column_of(table, embedding, found, self._model(connection, embedding, again=again)), found

    def _check(
        self, connection: Connection, table: Table, embedding: Embedding, keys: tuple[Key, ...]
    ) -> None:
        """Raises `ApplyFailed` for a text, a key or an owner with which rows cannot be embedded."""
        place, names = (table.schema_, table.name), [key.name for key in keys]
        path = schemas(table.schema_, keys)
        if trouble := live.text_trouble(connection, *place, embedding.text, path):
            raise ApplyFailed(f"{table.full_name}: {wrong_text(embedding, trouble)}.")
        strict = embedding.sync != "generated"
        if trouble := acting.trouble(connection, *place, names, [embedding.column], strict=strict):
            raise ApplyFailed(f"{table.full_name}: {trouble}.")

    def _model(self, connection: Connection, embedding: Embedding, *, again: bool) -> Mapping[str, Any]:
        """What is known of an embedding's model. Raises `ApplyFailed` if the spec expects another.

        With `again`, that may be what was known a moment ago: before the first row is embedded, vectorizing
        asks for it.
        """
        found = self._models.get(embedding.model) if again else None
        if found is None:
            found = live.model(connection, embedding.model)
        if found is None:
            raise ApplyFailed(f"the model {embedding.model} is not registered: run `azpg apply` again.")
        if problem := wrong_dimensions(embedding, found):
            raise ApplyFailed(f"{problem}.")
        self._models[embedding.model] = found
        return found
