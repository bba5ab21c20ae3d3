"""Keys of one or several columns, as text and in SQL: the text of a value is its own cast to text."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from azpg_provision.column import VectorColumn

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
    """The key as `text[]`: ``ARRAY[key_1::text, …]``."""
    texts = _COMMA.join(sql.SQL("{}::text").format(one) for one in _own(column, *scope))
    return sql.SQL("ARRAY[{}]").format(texts)


def same(column: VectorColumn, left: str | None, right: str) -> sql.Composed:
    """Whether the key of scope `left`, None for the table, is that of scope `right`."""
    lefts = _in_table(column) if left is None else _own(column, left)
    pairs = zip(lefts, _own(column, right), strict=True)
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(one, other) for one, other in pairs)


def values(column: VectorColumn, key: Sequence[str]) -> sql.Composed:
    """A key from its text: ``CAST('7' AS bigint), CAST('…' AS text)``."""
    # format_type has quoted in a type's name what has to be quoted.
    return _COMMA.join(
        sql.SQL("CAST({} AS {})").format(sql.Literal(text), sql.SQL(one.type))
        for text, one in zip(key, column.keys, strict=True)
    )


def between(column: VectorColumn, low: Sequence[str] | None, high: Sequence[str] | None) -> sql.Composed:
    """Whether the table's key is after `low` and not after `high`; None bounds nothing."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    if low is not None:
        parts.append(sql.SQL("({}) > ({})").format(listed(column), values(column, low)))
    if high is not None:
        parts.append(sql.SQL("({}) <= ({})").format(listed(column), values(column, high)))
    return sql.SQL(" AND ").join(parts)


def exactly(column: VectorColumn, key: Sequence[str]) -> sql.Composed:
    """Whether the table's key is this one."""
    return sql.SQL("({}) = ({})").format(listed(column), values(column, key))


def _in_table(column: VectorColumn) -> list[sql.Identifier]:
    return [sql.Identifier(column.table, key.name) for key in column.keys]


def _own(column: VectorColumn, *scope: str) -> list[sql.Identifier]:
    return [sql.Identifier(*scope, f"key_{number}") for number in range(1, len(column.keys) + 1)]
