"""The tables that are asked about in one statement, each by its place among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql

_ROW = "({}::pg_catalog.int4, {}::pg_catalog.text, {}::pg_catalog.name[], {}::pg_catalog.name[], {})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table, and what azpg does there as its owner.

    Attributes:
        name: of the table, qualified and quoted.
        keys: the columns of its key.
        written: the columns that azpg writes.
        strict: whether what belongs to the types of the key may not look names up when it runs, as of a text.
    """

    name: str
    keys: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True)
class Tables:
    """Some of them, at least one."""

    wanted: Sequence[Wanted]

    @cached_property
    def query(self) -> sql.Composed:
        """A query of their numbers, names, keys, written columns, and whether they are strict.

        By how many there are PostgreSQL decides how to read its catalogues: by their indexes for one, as a
        whole for many.
        """
        rows = [
            sql.SQL(_ROW).format(
                sql.Literal(number),
                sql.Literal(one.name),
                sql.Literal(list(one.keys)),
                sql.Literal(list(one.written)),
                sql.Literal(one.strict),
            )
            for number, one in enumerate(self.wanted)
        ]
        return sql.SQL("VALUES {}").format(sql.SQL(", ").join(rows))
