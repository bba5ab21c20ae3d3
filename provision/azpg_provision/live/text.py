"""Whether a server can make a column's text of a table's rows.

Nothing of a text is run to tell that, nor of what others wrote: its string literals, which PostgreSQL reads
as values of types while it parses, are parameters then (`azpg_provision.spec.literals`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from azpg_provision.spec.literals import Template, template

_MISTAKES = "42"
"""The class of SQLSTATEs for names, types and rights that are wrong whatever the rows hold."""
_PREPARED = "azpg_text"
_TYPES = """
SELECT type.oid::pg_catalog.oid::pg_catalog.int8
FROM pg_catalog.pg_prepared_statements AS statement
CROSS JOIN pg_catalog.unnest(statement.parameter_types) WITH ORDINALITY AS type (oid, position)
WHERE statement.name OPERATOR(pg_catalog.=) 'azpg_text'
ORDER BY type.position
"""
_IS_CAST = """
SELECT typrelid OPERATOR(pg_catalog.=) 0 FROM pg_catalog.pg_type WHERE oid OPERATOR(pg_catalog.=) %s
"""
_NAMES = """
SELECT type.oid::pg_catalog.int8,
       pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.', pg_catalog.quote_ident(type.typname))
FROM pg_catalog.pg_type AS type
JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
WHERE type.oid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.int8[]::pg_catalog.oid[])
"""
_AS_IT_IS = "''"
_NUMBER = re.compile(r"\$(\d+)")
_REGISTERED = {
    24: "regproc",
    2202: "regprocedure",
    2203: "regoper",
    2204: "regoperator",
    2205: "regclass",
    2206: "regtype",
    3734: "regconfig",
    3769: "regdictionary",
    4089: "regnamespace",
    4096: "regrole",
    4191: "regcollation",
}
"""PostgreSQL's own types whose literals are names, which may be wrong like any other, by their numbers."""

Connection = psycopg.Connection[tuple[Any, ...]]
Prepare = Callable[[sql.Composed], None]
"""Prepares a statement, with the names of a text in sight."""


def text_trouble(connection: Connection, schema: str, table: str, text: str, path: Sequence[str]) -> str:
    """Why no row could have this text, such as a function that is not there; empty where rows may have it.

    Names are looked up in the schemas of `path`, as a worker and a trigger do. The text is parsed, and
    nothing of it is run: to plan a query would compute what is constant in it, and to read its literals what
    belongs to their types.
    """
    found = template(text)
    if found is None:
        return ""
    relation = sql.Identifier(schema, table)

    def prepare(statement: sql.Composed) -> None:
        connection.execute(statement, binary=True)  # by the protocol that takes one statement only

    try:
        with connection.transaction(force_rollback=True):
            settings = "SET LOCAL standard_conforming_strings = on; SET LOCAL search_path = {}"
            connection.execute(sql.SQL(settings).format(names(path)))
            types, _, _ = _types(connection, relation, found, prepare, {})
            named = {
                number: sql.SQL("CAST({} AS pg_catalog.{})")
                .format(sql.Literal(found.values[number]), sql.SQL(_REGISTERED[type_]))
                .as_string(connection)
                for number, type_ in types.items()
                if type_ in _REGISTERED
            }
            if named:
                _types(connection, relation, found, prepare, named)
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_MISTAKES):
            return ""  # for a row, or for the moment
        return error.diag.message_primary or str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Typed:
    """A text whose string literals have their types.

    Attributes:
        types: those as which PostgreSQL reads them, by their numbers.
        text: the same text, in which each literal says its type: whatever somebody else has put where names
            are looked up since, it is read as no other.
    """

    types: list[int]
    text: str


def typed(connection: Connection, relation: sql.Identifier, text: str, prepare: Prepare) -> Typed | None:
    """A text with the types of its string literals; None where they cannot be told.

    Those that PostgreSQL leaves as they are, as arguments of concat(), are texts.

    Args:
        connection: in a transaction.
        relation: the table that the text is over.
        text: an expression.
        prepare: as whom it is to be read, and where names are.

    Raises what PostgreSQL says of a text that it cannot read.
    """
    found = template(text)
    if found is None:
        return None
    types, casts, filled = _types(connection, relation, found, prepare, {})
    every = sorted({*types.values(), *casts})
    if found.types:  # of literals that cannot be anything else
        return Typed(every, text)
    names_: dict[int, str] = dict(connection.execute(_NAMES, [every]).fetchall())
    places = []
    for number, value in enumerate(found.values):
        literal = sql.Literal(value).as_string()
        if number in types:
            literal = f"CAST({literal} AS {names_[types[number]]})"
        elif filled[number] == _AS_IT_IS:
            literal = f"CAST({literal} AS pg_catalog.text)"
        places.append(literal)
    return Typed(every, found.filled(places))


def _types(
    connection: Connection,
    relation: sql.Identifier,
    found: Template,
    prepare: Prepare,
    given: Mapping[int, str],
) -> tuple[dict[int, int], set[int], dict[int, str]]:
    """The types of literals by their places, of those that have no parameter, and what stood in their places.

    Args:
        connection: in a transaction.
        relation: the table that the text is over.
        found: the text.
        prepare: as of `typed`.
        given: what is to stand in places that get no parameter.
    """
    count = len(found.values)
    filled, casts = dict(given), set[int]()
    for number, name in found.calls.items():
        if (type_ := _type_called(connection, name, prepare)) is not None:
            filled[number] = "NULL"  # of which nothing is read
            casts.add(type_)
    while True:
        asked = [number for number in range(count + len(found.types)) if number not in filled]
        places = filled | {number: f"${place}" for place, number in enumerate(asked, 1)}
        columns = [
            sql.SQL("({}\n)::pg_catalog.text").format(
                sql.SQL(found.filled([places[number] for number in range(count)]))
            ),
            *(_cast(places[count + number], type_) for number, type_ in enumerate(found.types)),
        ]
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(columns), relation)
        try:
            types = _parameters(connection, query, prepare)
        except errors.IndeterminateDatatype as error:
            number_ = _NUMBER.search(error.diag.message_primary or "")
            if number_ is None or int(number_[1]) > len(asked):
                raise
            # It stays as it is, as an argument of concat() does. No type that has parts takes an empty text.
            filled[asked[int(number_[1]) - 1]] = _AS_IT_IS
        else:
            return dict(zip(asked, types, strict=True)), casts, filled


def _type_called(connection: Connection, name: str, prepare: Prepare) -> int | None:
    """The type of a name as which a call with a literal in it is a cast, None if there is none."""
    try:
        (type_,) = _parameters(connection, sql.SQL("SELECT {}").format(_cast("$1", name)), prepare)
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return None
    return type_ if connection.execute(_IS_CAST, [type_]).fetchone() == (True,) else None


def _cast(value: str, type_: str) -> sql.Composed:
    return sql.SQL("CAST({} AS {})").format(sql.SQL(value), sql.SQL(type_))


def _parameters(connection: Connection, query: sql.Composed, prepare: Prepare) -> list[int]:
    """The types that PostgreSQL gives the parameters of a query, which it parses."""
    statement = sql.Identifier(_PREPARED)
    with connection.transaction():
        prepare(sql.SQL("PREPARE {} AS {}").format(statement, query))
    query_of_types = sql.SQL("{}; DEALLOCATE {}").format(sql.SQL(_TYPES), statement)
    return [int(type_) for (type_,) in connection.execute(query_of_types).fetchall()]


def names(path: Sequence[str]) -> sql.Composed:
    """Schemas as a search_path."""
    return sql.SQL(", ").join(map(sql.Identifier, path))
