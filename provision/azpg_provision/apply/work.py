"""What every step of an apply has at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import psycopg

from azpg_provision import live, vectorize
from azpg_provision.apply.reporter import Reporter
from azpg_provision.column import VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.live.model import LiveTable
from azpg_provision.plan.change import Change
from azpg_provision.plan.wanted import column_of, key_of, wrong, wrong_dimensions, wrong_text
from azpg_provision.spec.identifier import qualified
from azpg_provision.spec.model import Database, Embedding, Spec, Table
from azpg_provision.sync import schemas
from azpg_provision.target.target import Connection, Target


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
    _sessions: dict[str, Connection] = field(default_factory=dict)
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

        What is set in it is set by SET LOCAL.
        """
        assert change.database is not None
        connection = self._sessions.get(change.database)
        if connection is None or not _answers(connection):
            self._end_session()
            connection = self._sessions[change.database] = self.connect(change)
        yield connection

    def vectorize(
        self, change: Change, column: VectorColumn, tell: vectorize.Tell = vectorize.silent
    ) -> vectorize.Outcome:
        """Embeds the rows of a column that wait (`azpg_provision.vectorize.run`)."""
        assert change.database is not None
        connect = self._connects.setdefault(change.database, partial(self.target.connect, change.database))
        return vectorize.run(connect, column, tell=tell, say=self.report.tell, connections=self._workers)

    def close(self) -> None:
        """Closes all connections."""
        self._end_session()
        self._workers.close()

    def _end_session(self) -> None:
        while self._sessions:
            self._sessions.popitem()[1].close()

    def column(self, connection: Connection, change: Change) -> tuple[VectorColumn, LiveTable]:
        """The column that a change is about as the spec asks for it, and its table as it is now.

        Its number is 0. Raises `ApplyFailed` for a table that an init file did not make, or made otherwise.
        """
        table, embedding = self.embedding(change)
        only = self.database(change).model_copy(update={"tables": [table], "grants": []})
        found = live.read_database(connection, only).tables.get((table.schema_, table.name))
        if found is None:
            raise ApplyFailed(
                f"there is no table {table.full_name} after the init files have run: make it, or name an "
                "init file that does."
            )
        if problems := wrong(table, embedding, found):
            said = "; ".join(problems)
            raise ApplyFailed(said if said.endswith("?") else f"{said}.")
        path = schemas(table.schema_, key_of(table, found) or ())
        if trouble := live.text_trouble(connection, table.schema_, table.name, embedding.text, path):
            raise ApplyFailed(f"{table.full_name}: {wrong_text(embedding, trouble)}.")
        return column_of(table, embedding, found, self.model(connection, embedding)), found

    def model(self, connection: Connection, embedding: Embedding) -> Mapping[str, Any]:
        """What is known of an embedding's model. Raises `ApplyFailed` if the spec expects another."""
        found = live.model(connection, embedding.model)
        if found is None:
            raise ApplyFailed(f"the model {embedding.model} is not registered: run `azpg apply` again.")
        if problem := wrong_dimensions(embedding, found):
            raise ApplyFailed(f"{problem}.")
        return found


def _answers(connection: Connection) -> bool:
    """Whether a session that nobody has used for a while is still there."""
    try:
        connection.execute("SELECT")
    except psycopg.Error:
        return False
    return True
