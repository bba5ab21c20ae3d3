"""How good an approximate index is: recall against exact search, and what a search takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.errors import PlanRefused
from azpg_provision.index.catalog import indexes
from azpg_provision.index.definition import SETTINGS, Method, VectorIndex
from azpg_provision.index.probe import Probe, Question
from azpg_provision.live.local_ai import require
from azpg_provision.live.owner import OwnersView, as_owner
from azpg_provision.live.pgvector import schema_of
from azpg_provision.sync import attached

Connection = psycopg.Connection[tuple[Any, ...]]
K = 10
SWEEPS = {
    Method.HNSW: (10, 20, 40, 80, 160, 320, 640),
    Method.IVFFLAT: (1, 2, 4, 8, 16, 32, 64, 128),
    Method.DISKANN: (10, 20, 40, 80, 160, 320),
}
_MOST = {Method.HNSW: 1000, Method.IVFFLAT: 32768}
"""What the settings of pgvector may be at most."""
_SAME = 1e-6
"""Distances that float32 arithmetic in another order may make of one and the same."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting's outcome.

    Attributes:
        value: of the setting, such as hnsw.ef_search; None for the exact search.
        recall: the share of the `K` exact nearest neighbours that were found, over all questions; rows at
            the distance of the K-th count as it. A row that asks for its own neighbours is none of them.
        median, p95: milliseconds of one search, the way to the server and back included.
    """

    value: int | None
    recall: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An index over a range of its setting."""

    index: str
    definition: VectorIndex
    setting: str
    rows: int
    questions: int
    exact: Point
    points: tuple[Point, ...]


def evaluate(
    connection: Connection,
    column: VectorColumn,
    *,
    questions: Sequence[str] = (),
    sample: int = 100,
    values: Sequence[int] = (),
    tell: Callable[[int, int], None] = lambda done, total: None,
    remark: Callable[[str], None] = lambda text: None,
) -> list[Evaluation]:
    """Evaluates each index of the column; nothing is changed, and the table is read as its owner.

    Args:
        connection: to the column's database, in autocommit.
        column: with at least one index.
        questions: texts to search by; without any, `sample` rows of the table look for their neighbours,
            themselves excluded.
        sample: how many.
        values: of the setting; the method's usual range if left out.
        tell: told how many searches of how many are done.
        remark: told which index cannot be judged, because the server prefers another one.

    Raises `PlanRefused` if there is no index, or too few rows to tell, as `azpg_provision.live.owner`, and
    for what is attached to the table of which others could make something else; with `questions`,
    `ExtensionMismatch`.
    """
    has = indexes(connection, column)
    if not has:
        raise PlanRefused(f"{column.name} has no approximate index: say `index:` in the spec, and apply.")
    if why := attached.foreign(connection, column.relation, [column.column]):
        raise PlanRefused(f"{column.name}: {why}.")
    vector_schema = schema_of(connection)
    with as_owner(connection, column.schema, column.table) as owner:
        rows = _count(owner, column)
        if rows <= K:
            raise PlanRefused(f"recall@{K} needs more than {K} embedded rows; there are {rows}.")
        asked = [] if questions else _rows(owner, column, sample)
    if questions:
        asked = _vectors(connection, column, questions)
    probes = {
        name: Probe(connection, column, index, vector_schema=vector_schema, limit=K)
        for name, index in has.items()
    }
    for name, probe in list(probes.items()):
        with probe.settings(enable_seqscan="off", **_costly(probe.index.method)) as owner:
            used = probe.uses(owner, asked[0])
        if used != name:
            del probes[name]
            remark(
                f"{name} is left out: the server searches by {used or 'reading the whole table'} "
                "where it has the choice."
            )
    sweeps = {name: _sweep(probe.index, values) for name, probe in probes.items()}
    counter = _Counter(len(asked) * sum(1 + len(sweep) for sweep in sweeps.values()), tell)
    return [_evaluated(name, probe, asked, sweeps[name], rows, counter) for name, probe in probes.items()]


def _sweep(index: VectorIndex, values: Sequence[int]) -> list[int]:
    if values or index.method is not Method.IVFFLAT:
        return list(values or SWEEPS[index.method])
    most = index.parameters.get("lists", 100)
    return [value for value in SWEEPS[index.method] if value < most] + [most]


def _costly(method: Method) -> dict[str, str]:
    """Settings that make the indexes of other methods look costly, so that this one's are chosen."""
    return {SETTINGS[other]: str(most) for other, most in _MOST.items() if other is not method}


class _Counter:
    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self.done, self.total, self.tell = 0, total, tell

    def one_more(self) -> None:
        self.done += 1
        self.tell(self.done, self.total)


def _count(owner: OwnersView, column: VectorColumn) -> int:
    statement = sql.SQL("SELECT pg_catalog.count({}) FROM ONLY {}").format(
        sql.Identifier(column.column), column.relation
    )
    ((rows,),) = owner.rows(statement, "rows int8")
    return int(rows)


def _rows(owner: OwnersView, column: VectorColumn, sample: int) -> list[Question]:
    statement = sql.SQL(
        "SELECT {column}::pg_catalog.text FROM ONLY {relation} WHERE {column} IS NOT NULL "
        "ORDER BY pg_catalog.random() LIMIT {sample}"
    ).format(column=sql.Identifier(column.column), relation=column.relation, sample=sql.Literal(sample))
    return [Question(vector, 1) for (vector,) in owner.rows(statement, "vector text")]


def _vectors(connection: Connection, column: VectorColumn, texts: Sequence[str]) -> list[Question]:
    query = (
        "SELECT embedding::pg_catalog.text FROM azure_local_ai.create_embeddings(%s, %s::pg_catalog.text[])"
    )
    with connection.transaction():
        require(connection)
        rows = connection.execute(query, [column.model, list(texts)]).fetchall()
    return [Question("[" + array[1:-1] + "]", 0) for (array,) in rows]


def _evaluated(
    name: str,
    probe: Probe,
    questions: Sequence[Question],
    values: Sequence[int],
    rows: int,
    counter: _Counter,
) -> Evaluation:
    exact: list[list[float]] = []
    times: list[float] = []
    with probe.settings(enable_indexscan="off", enable_bitmapscan="off") as owner:
        for question in questions:
            distances, took = probe.nearest(owner, question)
            exact.append(distances)
            times.append(took)
            counter.one_more()
    wanted = sum(len(truth) - question.itself for question, truth in zip(questions, exact, strict=True))
    points = []
    method = probe.index.method
    for value in values:
        hits, took_each = 0, []
        settings = _costly(method) | {"enable_seqscan": "off", SETTINGS[method]: str(value)}
        with probe.settings(**settings) as owner:
            for question, truth in zip(questions, exact, strict=True):
                distances, took = probe.nearest(owner, question)
                near = sum(distance <= truth[-1] + _SAME for distance in distances)
                hits += max(0, near - question.itself)
                took_each.append(took)
                counter.one_more()
        points.append(_point(value, hits / wanted, took_each))
    return Evaluation(
        index=name,
        definition=probe.index,
        setting=SETTINGS[method],
        rows=rows,
        questions=len(questions),
        exact=_point(None, 1.0, times),
        points=tuple(points),
    )


def _point(value: int | None, recall: float, times: Sequence[float]) -> Point:
    cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else [times[0]] * 19
    return Point(value, recall, cuts[9], cuts[18])
