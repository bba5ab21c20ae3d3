"""One vectorized column: which rows, which text, which model, and how it keeps up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql


class Sync(StrEnum):
    """How a column keeps up with its rows."""

    GENERATED = "generated"
    """``GENERATED ALWAYS AS (…) STORED``: PostgreSQL computes it in the writing statement."""
    TRIGGER = "trigger"
    """A trigger computes it in the writing statement."""
    QUEUE = "queue"
    """A trigger notes the key; `azpg worker` computes it soon after. Writers never wait for a model."""
    NONE = "none"
    """Only `azpg vectorize` computes it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One column of a table's key: its name, and its type as ``format_type`` prints it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A vectorized column that exists, or that a plan is about to make.

    Attributes:
        id: its number in the ledger; names its tables `azpg.state_<id>` and `azpg.queue_<id>`.
        schema, table, column: where the vectors are.
        keys: the columns that tell one row from another, a unique NOT NULL index's, in its order.
        text: the SQL expression of the text, over the table's columns; exactly one expression (see
            `azpg_provision.spec.expression`), the only raw SQL of a spec.
        model: what the backend calls its model, such as ``all-minilm-l6-v2:v1``.
        prefix: what stands before every text, such as ``passage: ``.
        dimensions: of each vector.
        fingerprint: 32 bytes that change whenever the same text would get another vector: the SHA-256 of
            the model's digest. A row is up to date if its hash (see `hash_of`) is of this fingerprint.
        sync: how the column keeps up.
    """

    id: int
    schema: str
    table: str
    column: str
    keys: tuple[Key, ...]
    text: str
    model: str
    prefix: str
    dimensions: int
    fingerprint: bytes
    sync: Sync

    @property
    def relation(self) -> sql.Identifier:
        """The table, qualified and quoted."""
        return sql.Identifier(self.schema, self.table)

    @property
    def state(self) -> sql.Identifier:
        """The table of what has been embedded, one row per key."""
        return sql.Identifier("azpg", f"state_{self.id}")

    @property
    def queue(self) -> sql.Identifier:
        """The table of keys that wait for a worker."""
        return sql.Identifier("azpg", f"queue_{self.id}")

    @property
    def source(self) -> sql.Composed:
        """The prefix and the text, for a scope in which the table goes by its own name, alone.

        NULL where the expression is: such a row has no embedding, and is up to date without one. It is raw
        SQL in which a ``%`` may stand, so that a statement that holds it is executed without parameters:
        values are composed as `psycopg.sql.Literal`.
        """
        text = sql.SQL(self.text)
        return sql.SQL("({} || ({})::text)").format(sql.Literal(self.prefix), text)
