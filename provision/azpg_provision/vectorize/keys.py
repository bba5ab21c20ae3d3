"""Keys of one or several columns, as text and in SQL: the text of a value is what its type prints."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from azpg_provision.column import VectorColumn, operator_of

_COMMA = sql.SQL(", ")


def listed(column: VectorColumn) -> sql.Composed:
    """The key's columns in the table, as its own name has them: ``t.a, t.b``."""
    return _COMMA.join(_in_table(column))


def named(column: VectorColumn) -> sql.Composed:
    """The same under the names that state and queue have for them: ``t.a AS key_1, t.b AS key_2``."""
    pairs = zip(_in_table(column), column.own_keys, strict=True)
    return _COMMA.join(sql.SQL("{} AS {}").format(one, own) for one, own in pairs)


def own(column: VectorColumn, *scope: str) -> sql.Composed:
    """The key as state and queue have it: ``key_1, key_2``, or ``s.key_1, s.key_2`` in the scope ``s``."""
    return _COMMA.join(_own(column, *scope))


def as_text(column: VectorColumn, *scope: str) -> sql.Composed:
    """The key as `text[]`, of what its types print: a cast could be what a type's owner has made of it."""
    texts = _COMMA.join(sql.SQL("pg_catalog.concat({})").format(one) for one in _own(column, *scope))
    return sql.SQL("ARRAY[{}]").format(texts)


def same(column: VectorColumn, left: str | None, right: str) -> sql.Composed:
    """Whether the key of scope `left`, None for the table, is that of scope `right`."""
    lefts = _in_table(column) if left is None else _own(column, left)
    return equal(column, lefts, _own(column, right))


def equal(
    column: VectorColumn, lefts: Sequence[sql.Composable], rights: Sequence[sql.Composable]
) -> sql.Composed:
    """Whether two keys, by their parts, are the same."""
    parts = zip(column.keys, lefts, rights, strict=True)
    return sql.SQL(" AND ").join(key.compare("=", left, right) for key, left, right in parts)


def values(column: VectorColumn, key: Sequence[str]) -> list[sql.Composed]:
    """A key from its text: ``CAST('7' AS pg_catalog.int8)``, ``CAST('…' AS pg_catalog.text)``."""
    return [one.value(text) for text, one in zip(key, column.keys, strict=True)]


def between(column: VectorColumn, low: Sequence[str] | None, high: Sequence[str] | None) -> sql.Composed:
    """Whether the table's key is after `low` and not after `high`; None bounds nothing."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    if low is not None:
        parts.append(_ordered(column, ">", values(column, low)))
    if high is not None:
        parts.append(_ordered(column, "<=", values(column, high)))
    return sql.SQL(" AND ").join(parts)


def exactly(column: VectorColumn, key: Sequence[str]) -> sql.Composed:
    """Whether the table's key is this one."""
    return equal(column, _in_table(column), values(column, key))


def _ordered(column: VectorColumn, operator: str, bound: Sequence[sql.Composable]) -> sql.Composed:
    """Whether the table's key is in that order to `bound`, by its first part that differs."""
    keys, table = column.keys, _in_table(column)
    if len({key.operators for key in keys}) == 1:  # one comparison of rows, for which there is an index
        lefts, rights = (
            _COMMA.join(key.comparable(part) for key, part in zip(keys, parts, strict=True))
            for parts in (table, bound)
        )
        return sql.SQL("({}) {} ({})").format(lefts, operator_of(keys[0].operators, operator), rights)
    cases = []
    for number, key in enumerate(keys):
        alike = [one.compare("=", table[n], bound[n]) for n, one in enumerate(keys[:number])]
        last = operator if number == len(keys) - 1 else operator[0]
        cases.append(sql.SQL(" AND ").join([*alike, key.compare(last, table[number], bound[number])]))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(cases))


def _in_table(column: VectorColumn) -> list[sql.Identifier]:
    return [sql.Identifier(column.table, key.name) for key in column.keys]


def _own(column: VectorColumn, *scope: str) -> list[sql.Identifier]:
    return [sql.Identifier(*scope, f"key_{number}") for number in range(1, len(column.keys) + 1)]
