"""What an approximate index is: its method, its operator class, its parameters, and its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from psycopg import sql

from azpg_provision.column import VectorColumn

NAME_LIMIT = 63
"""Bytes of a name in PostgreSQL."""


class Method(StrEnum):
    """How neighbours are found."""

    HNSW = "hnsw"
    """pgvector's graph: best recall for its speed; slow to build, and wants memory for that."""
    IVFFLAT = "ivfflat"
    """pgvector's lists: quick to build, from rows that are there already."""
    DISKANN = "diskann"
    """pg_diskann's graph on disk: on Azure only."""


OPERATORS = {
    "vector_cosine_ops": "<=>",
    "vector_l2_ops": "<->",
    "vector_ip_ops": "<#>",
    "vector_l1_ops": "<+>",
}
"""The distance that each operator class of `vector` serves. L1 is hnsw's only."""
SETTINGS = {
    Method.HNSW: "hnsw.ef_search",
    Method.IVFFLAT: "ivfflat.probes",
    Method.DISKANN: "diskann.l_value_is",
}
"""The setting that trades speed for recall at search."""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index over a vectorized column.

    Attributes:
        opclass: a key of `OPERATORS`.
        parameters: of the index, such as m and ef_construction, or lists; the method's defaults if left out.
    """

    method: Method = Method.HNSW
    opclass: str = "vector_cosine_ops"
    parameters: Mapping[str, int] = field(default_factory=dict)

    def distance(self, column: VectorColumn, vector: sql.Composable, vector_schema: str) -> sql.Composed:
        """The distance of a column to a vector, by the operator that the index serves.

        Both sides are pgvector's type: nobody else's operator is for exactly that, whatever type the column
        has. The cast costs nothing where it has that, and the index is used as without it.
        """
        type_ = sql.Identifier(vector_schema, "vector")
        return sql.SQL("CAST({} AS {type}) {} CAST({} AS {type})").format(
            sql.Identifier(column.column), operator(self.opclass, vector_schema), vector, type=type_
        )

    def name(self, column: VectorColumn) -> str:
        """``<table>_<column>_<method>``, shortened as a whole with a hash where 63 bytes do not hold it."""
        whole = f"{column.table}_{column.column}_{self.method}"
        if len(whole.encode()) <= NAME_LIMIT:
            return whole
        mark = f"_{sha256(whole.encode()).hexdigest()[:8]}_{self.method}"
        kept = whole.encode()[: NAME_LIMIT - len(mark)].decode(errors="ignore")
        return kept + mark

    def statement(self, column: VectorColumn, vector_schema: str) -> sql.Composed:
        """The statement that builds it beside reading and writing; the class is in `vector_schema`."""
        parameters = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in sorted(self.parameters.items())
        )
        return sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING {} ({} {}){}").format(
            sql.Identifier(self.name(column)),
            column.relation,
            sql.Identifier(self.method.value),
            sql.Identifier(column.column),
            sql.Identifier(vector_schema, self.opclass),
            sql.SQL(" WITH ({})").format(parameters) if self.parameters else sql.SQL(""),
        )


def operator(opclass: str, vector_schema: str) -> sql.Composed:
    """The distance operator of an operator class of pgvector, whatever the search_path."""
    return sql.SQL("OPERATOR({}.{})").format(sql.Identifier(vector_schema), sql.SQL(OPERATORS[opclass]))
