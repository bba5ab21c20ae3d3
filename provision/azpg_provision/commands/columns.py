"""The vectorized columns that a command is about, found by what a person calls their table."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from azpg.errors import UsageError
from azpg_provision.column import VectorColumn
from azpg_provision.errors import PlanRefused
from azpg_provision.spec.model import Spec


def database_of(spec: Spec | None, given: str | None, table: str) -> str | None:
    """The database to look in: the one that is named, or the spec's only one, or its only one with the table.

    None where there is no spec, and anybody's guess.

    Raises `UsageError`.
    """
    if given is not None:
        return given
    if spec is None:
        return None
    names = [database.name for database in spec.databases]
    having = [
        database.name
        for database in spec.databases
        if any(table in {one.name, f"{one.schema_}.{one.name}"} for one in database.tables)
    ]
    if len(having) == 1:
        return having[0]
    if len(names) > 1:
        raise UsageError(f"the spec has {len(names)} databases: choose with --database {' | '.join(names)}.")
    return names[0]


def columns_of(columns: Sequence[VectorColumn], table: str, database: str) -> list[VectorColumn]:
    """The columns of a table, or of those that are called alike in several schemas.

    Args:
        columns: those of the database.
        table: TABLE or SCHEMA.TABLE, as its name is written, without quotes.
        database: for messages.

    Raises `PlanRefused` where nothing is vectorized, `UsageError` for a name that fits none.
    """
    if not columns:
        raise PlanRefused(
            f"the database {database!r} has no vectorized column: name its tables in the spec, and apply."
        )
    found = [one for one in columns if table in {one.table, f"{one.schema}.{one.table}"}]
    if not found:
        names = sorted({f"{one.schema}.{one.table}" for one in columns})
        near = get_close_matches(table, [*names, *(one.table for one in columns)], n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"{table!r} is no vectorized table of {database!r}; there is: {', '.join(names)}.{meant}"
        )
    return found


def column_of(columns: Sequence[VectorColumn], table: str, column: str | None, database: str) -> VectorColumn:
    """The column of `table` that is called `column`, or its only one; otherwise as `columns_of`.

    Raises `UsageError` also for a column that there is not, or that is in several tables.
    """
    of_table = columns_of(columns, table, database)
    found = [one for one in of_table if column in {None, one.column}]
    if not found:
        there = ", ".join(sorted(one.column for one in of_table))
        raise UsageError(f"{table!r} has no vectorized column {column!r}; there is: {there}.")
    if len(found) > 1:
        raise UsageError(
            f"{table!r} fits {' and '.join(one.name for one in found)}: say SCHEMA.TABLE, or --column."
        )
    return found[0]
