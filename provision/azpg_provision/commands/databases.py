"""The databases and vectorized columns of a target that a command is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from azpg.errors import UsageError
from azpg_provision import ledger
from azpg_provision.column import VectorColumn
from azpg_provision.commands.columns import column_of, columns_of, database_of
from azpg_provision.errors import PlanRefused
from azpg_provision.spec.model import Spec
from azpg_provision.target.connecting import begin_read_only
from azpg_provision.target.target import Connection, Target

_DATABASES = """
SELECT datname FROM pg_catalog.pg_database
WHERE datallowconn AND NOT datistemplate AND pg_catalog.has_database_privilege(datname, 'CONNECT')
ORDER BY datname
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A vectorized column, with its database and how to connect to that."""

    database: str
    connect: Callable[[], Connection]
    column: VectorColumn


def databases(target: Target, spec: Spec | None, given: str | None) -> dict[str, Callable[[], Connection]]:
    """How to connect to each: the one that is named, or those of the spec, or all of the target's."""
    if given is not None:
        names = [given]
    elif spec is not None:
        names = [database.name for database in spec.databases]
    else:
        with target.connect() as connection:
            begin_read_only(connection)
            names = [name for (name,) in connection.execute(_DATABASES).fetchall()]
    return {name: partial(target.connect, name) for name in names}


def places(
    target: Target, spec: Spec | None, *, database: str | None, table: str | None, column: str | None
) -> list[Place]:
    """The vectorized columns that options name, by the ledgers; all of them where nothing is named.

    Raises `PlanRefused` where there is none, `UsageError` for a name that fits none.
    """
    if column is not None and table is None:
        raise UsageError("--column names a column of a table: name that too, with --table.")
    found = []
    refused: UsageError | None = None
    for name, connect in databases(target, spec, database).items():
        with connect() as connection:
            begin_read_only(connection)
            columns = ledger.columns(connection)
        if table is not None and columns:
            try:
                columns = (
                    [column_of(columns, table, column, name)] if column else columns_of(columns, table, name)
                )
            except UsageError as error:
                refused = error
                continue
        found += [Place(name, connect, one) for one in columns]
    if not found:
        where = f" in {database!r}" if database else ""
        raise refused or PlanRefused(
            f"{target.name} has no vectorized column{where}: name its tables in the spec, and apply."
        )
    return found


def place_of(
    target: Target, spec: Spec | None, *, database: str | None, table: str, column: str | None
) -> Place:
    """The only vectorized column that is meant; on a local server without a spec, wherever it is.

    Raises `PlanRefused` where there is none, `UsageError` for a name that fits none, or several.
    """
    name = database_of(spec, database, table)
    if name is None and target.kind == "local":
        found = places(target, None, database=None, table=table, column=column)
        having = list(dict.fromkeys(one.database for one in found))
        if len(having) > 1:
            raise UsageError(
                f"{table!r} is in {len(having)} databases: choose with --database {' | '.join(having)}."
            )
        of = column_of([one.column for one in found], table, column, having[0])
        return Place(having[0], found[0].connect, of)
    connect = target.connect if name is None else partial(target.connect, name)
    with connect() as connection:
        begin_read_only(connection)
        where = connection.info.dbname
        return Place(where, connect, column_of(ledger.columns(connection), table, column, where))
