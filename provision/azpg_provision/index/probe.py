"""One search at a time, by one index or by none, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.index.definition import VectorIndex
from azpg_provision.live.owner import OwnersView, as_owner

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for.

    Attributes:
        vector: as text.
        itself: 1 if it is a row of the table's: the nearest to itself, and not counted.
    """

    vector: str
    itself: int


class Probe:
    """Searches by the operator of one index, for `limit` rows, as the table's owner."""

    def __init__(
        self,
        connection: Connection,
        column: VectorColumn,
        index: VectorIndex,
        *,
        vector_schema: str,
        limit: int,
    ) -> None:
        self.connection = connection
        self.column, self.index, self.vector_schema, self.limit = column, index, vector_schema, limit

    def _statement(self, question: Question) -> sql.Composed:
        # Without parameters: a name may hold a %.
        distance = self.index.distance(self.column, sql.Literal(question.vector), self.vector_schema)
        return sql.SQL(
            "SELECT {distance} FROM ONLY {relation} WHERE {column} IS NOT NULL "
            "ORDER BY {distance} LIMIT {limit}"
        ).format(
            distance=distance,
            relation=self.column.relation,
            column=sql.Identifier(self.column.column),
            limit=sql.Literal(self.limit),
        )

    @contextmanager
    def settings(self, **settings: str) -> Iterator[OwnersView]:
        """Settings for what is done inside; nothing stays."""
        with as_owner(self.connection, self.column.schema, self.column.table, settings) as owner:
            yield owner

    def nearest(self, owner: OwnersView, question: Question) -> tuple[list[float], float]:
        """Distances of the nearest, and milliseconds."""
        statement = self._statement(question)
        start = time.perf_counter()
        rows = owner.rows(statement, "distance float8")
        took = 1000 * (time.perf_counter() - start)
        return [float(distance) for (distance,) in rows], took

    def uses(self, owner: OwnersView, question: Question) -> str | None:
        """The index that the server searches by under the present settings; None if it reads the table."""
        explain = sql.SQL("EXPLAIN (FORMAT JSON) ") + self._statement(question)
        ((plan,),) = owner.rows(explain, "plan json")
        return next(_index_names(plan), None)


def _index_names(plan: Any) -> Iterator[str]:
    """The indexes in what EXPLAIN says as JSON."""
    if isinstance(plan, list):
        for part in plan:
            yield from _index_names(part)
    elif isinstance(plan, dict):
        if "Index Name" in plan:
            yield plan["Index Name"]
        for part in plan.values():
            yield from _index_names(part)
