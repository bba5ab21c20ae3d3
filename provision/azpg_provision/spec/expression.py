"""The text of a row: one SQL expression of the user's, or columns joined by a blank.

It is the only raw SQL of a spec. PostgreSQL's own parser (pglast) must read exactly one expression in it,
alone and in parentheses alike, so that it can leave no place that it is put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from psycopg import sql

LONGEST = 10_000
_ALLOWED = "use one expression over the row's columns, such as title || ': ' || description"
_TOKENS = {
    "SQL_COMMENT": "holds a comment",
    "C_COMMENT": "holds a comment",
    "ASCII_59": "holds a semicolon",
    "PARAM": "holds a parameter ($1)",
}
_NODES = {
    "SubLink": "holds a subquery",
    "ParamRef": "holds a parameter",
    "SetToDefault": "holds DEFAULT",
    "A_Star": "holds *",
    "CurrentOfExpr": "holds CURRENT OF",
    "GroupingFunc": "holds GROUPING",
    "WindowDef": "holds a window",
}


_PLACES = ("location", "list_start", "list_end")
_OF_ANY = frozenset({"limitOption", "op"})


def joined(columns: Sequence[str]) -> str:
    """The expression of columns joined by one blank; those that are NULL are left out, NULL if all are.

    What concat_ws does, which is only STABLE, so that no generated column could have it.
    """
    names = [sql.SQL("({})::text").format(sql.Identifier(name)) for name in columns]
    if len(names) == 1:
        return names[0].as_string()
    parts = sql.SQL(" || ").join(sql.SQL("coalesce(' ' || {}, '')").format(name) for name in names)
    any_ = sql.SQL("coalesce({})").format(sql.SQL(", ").join(names))
    text = sql.SQL("CASE WHEN {} IS NOT NULL THEN substr({}, 2) END").format(any_, parts)
    return text.as_string()


def unjoined(text: str) -> tuple[str, ...]:
    """The columns that `joined` made a text of; none where it did not."""
    found = re.findall(r'\("((?:[^"]|"")+)"\)::text', text)
    names = tuple(dict.fromkeys(name.replace('""', '"') for name in found))
    return names if names and joined(names) == text else ()


@lru_cache(maxsize=256)
def columns_of(text: str) -> frozenset[str]:
    """The columns that an expression names, as PostgreSQL reads them: folded where they are not quoted.

    Raises `ValueError`, in words, for what is not exactly one expression without subqueries and parameters.
    """
    if not text.strip():
        raise ValueError(f"is empty: {_ALLOWED}")
    if "\0" in text:
        raise ValueError("holds a NUL character: leave it out")
    if len(text) > LONGEST:
        raise ValueError(f"has {len(text)} characters: use {LONGEST} at most")
    try:
        alone, inside = _target(text, "SELECT {}"), _target(text, "SELECT (\n{}\n)")
        if plain(alone) != plain(inside):  # such as `a, b`, which is a row in parentheses
            raise ValueError(f"is not exactly one expression: {_ALLOWED}")
        names: set[str] = set()
        _walk(alone, names)
    except RecursionError:
        raise ValueError("is nested too deeply: make it simpler") from None
    return frozenset(names)


@lru_cache(maxsize=256)
def functions_of(text: str) -> frozenset[str]:
    """Name the functions that an expression calls, without schemas. Raises `ValueError` as `columns_of`."""
    columns_of(text)
    nodes = _nodes(tree_of(text))
    return frozenset(node.funcname[-1].sval for node in nodes if type(node).__name__ == "FuncCall")


def tree_of(text: str) -> Any:
    """Parse an expression into pglast's nodes. Raises `ValueError` as `columns_of`."""
    return _target(text, "SELECT {}")


def is_node(value: Any) -> bool:
    """Tell whether something is one of pglast's nodes."""
    from pglast.ast import Node  # noqa: PLC0415 - a parser of 10 MB

    return isinstance(value, Node)


def _nodes(tree: Any) -> Iterator[Any]:
    """A node and all below it."""
    from pglast.ast import Node  # noqa: PLC0415

    if isinstance(tree, tuple):
        for part in tree:
            yield from _nodes(part)
    elif isinstance(tree, Node):
        yield tree
        for _, value in _members(tree):
            yield from _nodes(value)


def _target(text: str, around: str) -> Any:
    """The only expression of the only, plain SELECT that `around` becomes."""
    from pglast import Error, parser  # noqa: PLC0415 - a parser of 10 MB
    from pglast.ast import SelectStmt  # noqa: PLC0415
    from pglast.enums import SetOperation  # noqa: PLC0415

    try:
        for token in parser.scan(text):
            if token.name in _TOKENS:
                raise ValueError(f"{_TOKENS[token.name]}: {_ALLOWED}")
        statements = parser.parse_sql(around.replace("{}", text))
    except Error as error:
        raise ValueError(f"is no SQL expression: {error.args[0]}: {_ALLOWED}") from None
    select: Any = statements[0].stmt
    if len(statements) != 1 or not isinstance(select, SelectStmt):
        raise ValueError(f"is not exactly one expression: {_ALLOWED}")
    members = {name: value for name, value in _members(select) if name not in _OF_ANY and value is not False}
    (target, *others) = members.pop("targetList", None) or (None,)
    if target is None or others or members or select.op != SetOperation.SETOP_NONE:
        raise ValueError(f"is not exactly one expression: {_ALLOWED}")
    if target.name or target.indirection:
        raise ValueError(f"has a name of its own: leave AS out, and {_ALLOWED}")
    return target.val


def _members(node: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name in node if (value := getattr(node, name)) is not None]


def plain(node: Any) -> Any:
    """Return a tree without the places of its parts in the text."""
    from pglast.ast import Node  # noqa: PLC0415

    if isinstance(node, Node):
        parts = {name: plain(value) for name, value in _members(node) if not name.endswith(_PLACES)}
        return type(node).__name__, parts
    return [plain(one) for one in node] if isinstance(node, tuple) else node


def _walk(node: Any, names: set[str]) -> None:
    from pglast.ast import Node  # noqa: PLC0415

    if isinstance(node, tuple):
        for one in node:
            _walk(one, names)
        return
    if isinstance(node, Node):
        _check(node, type(node).__name__, names)


def _check(node: Any, kind: str, names: set[str]) -> None:
    if kind in _NODES:
        raise ValueError(f"{_NODES[kind]}: {_ALLOWED}")
    if kind == "FuncCall" and (
        node.agg_star or node.agg_distinct or node.agg_order or node.agg_filter or node.agg_within_group
    ):
        raise ValueError(f"holds an aggregate: {_ALLOWED}")
    if kind == "ColumnRef":
        fields = node.fields
        if len(fields) != 1 or type(fields[0]).__name__ == "A_Star":
            raise ValueError(f"names a column with its table, or *: {_ALLOWED}")
        names.add(fields[0].sval)
        return
    for _, value in _members(node):
        _walk(value, names)
