"""One vectorized column: which rows, which text, which model, and how it keeps up."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from psycopg import sql

from azpg_provision.spec.expression import columns_of
from azpg_provision.spec.values import TIMEOUT

_VOLATILE = frozenset({"loaded", "memory"})
_SCHEMA = re.compile(r'(?:"((?:[^"]|"")+)"|([^\W"][^"\W]*))\.')


def fingerprint_of(metadata: Mapping[str, Any]) -> bytes:
    """The fingerprint of a model (see `VectorColumn`), by what `azure_local_ai.model_metadata` says of it.

    That of its digest; where there is none, of all that does not change by itself.
    """
    digest = metadata.get("digest")
    if not isinstance(digest, str):
        lasting = {key: value for key, value in metadata.items() if key not in _VOLATILE}
        digest = json.dumps(lasting, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(digest.encode()).digest()


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
    """One column of a table's key: its name, and its type as ``format_type`` prints it.

    How its values are compared is what the ledger has found in its own index of the key, and no part of what
    the key is: a name such as ``=`` alone would be whatever operator somebody has made for it.

    Attributes:
        exact: its type, qualified and without a modifier, None for as `type` says.
        operators: the schema that ``=``, ``<`` and the like of its operator class are in.
        compared_as: the type that those are for, qualified, where it is another one, or where somebody else
            could make operators in that schema.
    """

    name: str
    type: str
    exact: str | None = field(default=None, compare=False)
    operators: str = field(default="pg_catalog", compare=False)
    compared_as: str | None = field(default=None, compare=False)

    @property
    def schema(self) -> str | None:
        """The schema that its type is in, None for one that needs no name: its operators are there, too."""
        match = _SCHEMA.match(self.type)
        if match is None:
            return None
        quoted, plain = match.groups()
        return plain if quoted is None else quoted.replace('""', '"')

    def compare(self, operator: str, left: sql.Composable, right: sql.Composable) -> sql.Composed:
        """A condition on two of its values: ``a OPERATOR(pg_catalog.=) b``."""
        return sql.SQL("{} {} {}").format(
            self.comparable(left), operator_of(self.operators, operator), self.comparable(right)
        )

    def comparable(self, value: sql.Composable) -> sql.Composable:
        """A value as the type that the operators are for: then no other operator could fit better.

        Nor when the table's column gets another type. A cast to the type that a value has costs nothing.
        """
        if self.compared_as is None:
            return value
        return sql.SQL("CAST({} AS {})").format(value, sql.SQL(self.compared_as))

    def value(self, text: str) -> sql.Composed:
        """A value from its text."""
        return sql.SQL("CAST({} AS {})").format(sql.Literal(text), sql.SQL(self.exact or self.type))


def operator_of(schema: str, name: str) -> sql.Composed:
    """An operator that is looked up in one schema only."""
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(schema), sql.SQL(name))


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
            the model's digest. It is part of each row's hash (see ledger/schema.sql).
        sync: how the column keeps up.
        timeout: seconds for which its trigger waits for the model.
        applied: what the table, its columns' types and their owners were when it was applied, as a hash:
            azpg_provision/ledger/applied.sql. No part of what the column is.
        secret: what a worker's session says so that the triggers leave its writes alone; see
            `azpg_provision.sync.triggers`. No part of what the column is, and not to be printed.
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
    timeout: int = TIMEOUT
    applied: str = field(default="", compare=False, repr=False)
    secret: str = field(default="", compare=False, repr=False)

    @property
    def name(self) -> str:
        """``schema.table.column``, for people."""
        return f"{self.schema}.{self.table}.{self.column}"

    @property
    def compared_by(self) -> str:
        """The names of the types, and of the operators' schemas, by which keys are compared."""
        parts = [filter(None, (key.exact, key.operators, key.compared_as)) for key in self.keys]
        return ", ".join(map(" ".join, parts))

    @property
    def relation(self) -> sql.Identifier:
        """The table, qualified and quoted."""
        return sql.Identifier(self.schema, self.table)

    @property
    def own_keys(self) -> tuple[sql.Identifier, ...]:
        """The key's columns in `state` and `queue`: key_1, key_2, …, in the order of `keys`.

        The table's own names would not do: a key may be called `hash` or `at`.
        """
        return tuple(sql.Identifier(f"key_{number}") for number in range(1, len(self.keys) + 1))

    @property
    def state(self) -> sql.Identifier:
        """The table of what has been embedded, one row per key."""
        return sql.Identifier("azpg", f"state_{self.id}")

    @property
    def queue(self) -> sql.Identifier:
        """The table of changes that wait for a worker: a row for each change, with the key."""
        return sql.Identifier("azpg", f"queue_{self.id}")

    @property
    def text_function(self) -> sql.Identifier:
        """The function that makes a row's text of its columns; see `azpg_provision.sync.bound`."""
        return sql.Identifier("azpg", f"text_{self.id}")

    @property
    def act_function(self) -> sql.Identifier:
        """The function that acts as the table's owner; see `azpg_provision.sync.acting`."""
        return sql.Identifier("azpg", f"act_{self.id}")

    @property
    def reads(self) -> list[str]:
        """The columns that its text is made of, and its own if azpg has to write it."""
        return sorted({*self.text_columns, *(() if self.sync is Sync.GENERATED else (self.column,))})

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that the text is made of, as the arguments of `text_function` are."""
        return tuple(sorted(columns_of(self.text)))

    def text_in(self, scope: sql.Composable) -> sql.Composed:
        """The prefix and the text of the row that goes by the name `scope`; NULL where the expression is.

        Such a row has no embedding, and is up to date without one.
        """
        columns = [sql.SQL("{}.{}").format(scope, sql.Identifier(name)) for name in self.text_columns]
        return sql.SQL("{}({})").format(self.text_function, sql.SQL(", ").join(columns))

    @property
    def unprefixed(self) -> sql.Composed:
        """The text, for a scope in which the table goes by its own name, alone; see `source`."""
        return sql.SQL("({}\n)::text").format(sql.SQL(self.text))

    @property
    def source(self) -> sql.Composed:
        """The prefix and the text, for a scope in which the table goes by its own name, alone.

        NULL where the expression is: such a row has no embedding, and is up to date without one. It is raw
        SQL in which a ``%`` may stand, so that a statement that holds it is executed without parameters:
        values are composed as `psycopg.sql.Literal`. A comment may end it, so that a line ends after it.
        """
        return sql.SQL("({} || {})").format(sql.Literal(self.prefix), self.unprefixed)
