"""What every step of an apply has at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from azpg_provision import live
from azpg_provision.column import VectorColumn
from azpg_provision.errors import ApplyFailed
from azpg_provision.live.model import LiveTable
from azpg_provision.plan.change import Change
from azpg_provision.plan.wanted import column_of, key_of, wrong, wrong_dimensions, wrong_text
from azpg_provision.spec.identifier import qualified
from azpg_provision.spec.model import Database, Embedding, Spec, Table
from azpg_provision.sync import schemas
from azpg_provision.target.target import Connection, Target


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is; `total` is 0 where that is unknown."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Work:
    """A spec on its way to a target.

    Attributes:
        tell: told what is being done, a sentence at a time.
        show: told how far a step is.
    """

    target: Target
    spec: Spec
    tell: Callable[[str], None]
    show: Callable[[Progress], None]

    def database(self, change: Change) -> Database:
        """The spec's database that a change is in."""
        return next(one for one in self.spec.databases if one.name == change.database)

    def embedding(self, change: Change) -> tuple[Table, Embedding]:
        """What the spec says of the column that a change is about."""
        for table, embedding in self.database(change).embeddings():
            if qualified(table.schema_, table.name, embedding.column) == change.name:
                return table, embedding
        raise LookupError(change.name)

    def leaves(self, change: Change) -> bool:
        """Whether a change is about a column that the spec does not name."""
        names = {
            qualified(table.schema_, table.name, embedding.column)
            for table, embedding in self.database(change).embeddings()
        }
        return change.name not in names

    def connect(self, change: Change) -> Connection:
        """A connection to a change's database."""
        assert change.database is not None
        return self.target.connect(change.database)

    def column(self, connection: Connection, change: Change) -> tuple[VectorColumn, LiveTable]:
        """The column that a change is about as the spec asks for it, and its table as it is now.

        Its number is 0. Raises `ApplyFailed` for a table that an init file did not make, or made otherwise.
        """
        table, embedding = self.embedding(change)
        found = live.read_database(connection, self.database(change)).tables.get((table.schema_, table.name))
        if found is None:
            raise ApplyFailed(
                f"there is no table {table.full_name} after the init files have run: make it, or name an "
                "init file that does."
            )
        if problems := wrong(table, embedding, found):
            raise ApplyFailed(f"{'; '.join(problems)}.")
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
