"""The string literals of an expression, which can be taken out of it before PostgreSQL reads it.

PostgreSQL reads a literal as a value of the type that its place asks for, as soon as it parses a text. That
runs what belongs to the type, such as the CHECK of a domain within an array. A parameter in the same place
gets the same type by the same rules, and nothing is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg import sql

from azpg_provision.spec import expression

_STRINGS = frozenset({"SCONST", "USCONST"})
_SELECT = "SELECT "


@dataclass(frozen=True, slots=True)
class Template:
    """An expression with places for its string literals.

    Those stay in it to which PostgreSQL's grammar itself gives a type of pg_catalog, as in INTERVAL '1' DAY.

    Attributes:
        parts: the SQL before, between and after the places.
        values: of the literals, one fewer than the parts.
        types: of further literals, as SQL, which became NULL because no parameter may stand there.
        calls: the functions, as SQL, of which a literal is the only argument, by the literal's place. Such a
            call is a cast where the name is a type's, but not with a parameter in it.
    """

    parts: tuple[str, ...]
    values: tuple[str, ...]
    types: tuple[str, ...]
    calls: Mapping[int, str]

    def filled(self, places: Sequence[str]) -> str:
        """The expression with SQL in its places, such as parameters."""
        return (
            "".join(f"{part} {place} " for part, place in zip(self.parts, places, strict=False))
            + (self.parts[-1])
        )


@lru_cache(maxsize=256)
def template(text: str) -> Template | None:
    """Take the string literals out of an expression; None if one stands where nothing else can.

    Raises `ValueError` as `azpg_provision.spec.expression.columns_of`.
    """
    expression.columns_of(text)
    spans = _spans(text)
    pieces = [text[end:start] for (_, end), (start, _) in zip([(0, 0), *spans], spans, strict=False)]
    last = text[spans[-1][1] :] if spans else text
    marks = [f"{number} {secrets.token_hex(8)}" for number in range(len(spans))]
    marked = "".join(f"{piece}'{mark}'" for piece, mark in zip(pieces, marks, strict=True)) + last
    tree = expression.tree_of(marked)
    above = dict(_places(tree, frozenset(marks), ()))
    if len(above) != len(marks):
        return None
    parts, values, types, expected = list[str](), list[str](), list[str](), dict[str, str | None]()
    part, begin, calls = "", len(_SELECT), dict[int, str]()
    for piece, mark, (start, end) in zip(pieces, marks, spans, strict=True):
        nodes, literal = above[mark], text[start:end]
        value = expression.tree_of(literal).val.sval
        expected[mark] = None
        part += piece
        cast = _cast(nodes)
        if _is_fixed(nodes):
            part += literal
            expected[mark] = value
        elif (types_ := _of_default(nodes)) is not None:
            part += " NULL "
            types += types_
        else:
            after = ""
            if cast is not None:  # type 'x', where no parameter may stand
                place = cast.typeName.location - begin
                if place < 0:  # the type has literals of its own
                    return None
                part, after = part[: len(part) - len(piece) + place], f" AS {piece[place:]})"
                part += " CAST("
            if (call := _only_argument(nodes)) is not None:
                calls[len(values)] = call
            parts.append(part)
            values.append(value)
            part = after
        begin += len(piece) + len(mark) + len("''")
    found = Template((*parts, part + last), tuple(values), tuple(types), calls)
    filled = expression.tree_of(found.filled(["(NULL)"] * len(values)))
    same = expression.plain(filled) == _expected(expression.plain(tree), expected)
    return found if same else None


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the string literals of a text begin and end."""
    from pglast import parser  # noqa: PLC0415 - a parser of 10 MB

    spans = list[tuple[int, int]]()
    tokens = parser.scan(text)
    escape = False
    for place, token in enumerate(tokens):
        if token.name not in _STRINGS:
            continue
        if escape:
            spans[-1] = (spans[-1][0], token.end + 1)
        else:
            spans.append((token.start, token.end + 1))
        escape = token.name == "USCONST" and place + 1 < len(tokens) and tokens[place + 1].name == "UESCAPE"
    return spans


def _places(
    tree: Any, marks: frozenset[str], above: tuple[Any, ...]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The literals of a tree by their values, with the nodes that they are in, the innermost last."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from _places(part, marks, above)
        return
    if not expression.is_node(tree):
        return
    if _kind(tree) == "A_Const":
        value = getattr(tree.val, "sval", None)
        if _kind(tree.val) == "String" and value in marks:
            yield value, above
        return
    for name in tree:
        yield from _places(getattr(tree, name), marks, (*above, tree))


def _is_fixed(nodes: tuple[Any, ...]) -> bool:
    """Whether the grammar itself says of which type a literal is, whatever has been made elsewhere."""
    if any(_kind(node) == "TypeName" for node in nodes):  # such as geometry('POINT')
        return True
    cast = _cast(nodes)
    if cast is not None:
        return _names(cast.typeName.names)[:-1] == ["pg_catalog"]
    call: Any = nodes[-1] if nodes else None
    return _kind(call) == "FuncCall" and _names(call.funcname) == ["pg_catalog", "extract"]


def _cast(nodes: tuple[Any, ...]) -> Any:
    """The cast of a literal that is written with its type before it."""
    cast: Any = nodes[-1] if nodes else None
    return cast if _kind(cast) == "TypeCast" and cast.location is None else None


def _only_argument(nodes: tuple[Any, ...]) -> str | None:
    """The name of the function that a literal is the only argument of."""
    call: Any = nodes[-1] if nodes else None
    if _kind(call) != "FuncCall" or len(call.args) != 1:
        return None
    return sql.Identifier(*_names(call.funcname)).as_string()


def _of_default(nodes: tuple[Any, ...]) -> list[str] | None:
    """The type, if any is named, of a literal that is what JSON_VALUE and the like say by DEFAULT."""
    around = [node for node in nodes if _kind(node) != "CollateClause"]
    if len(around) < 2 or not any(_kind(node) == "JsonBehavior" for node in around):
        return None
    if _kind(around[-1]) == "TypeCast":
        return [_type(around[-1].typeName)]
    if _kind(around[-1]) == "JsonBehavior":
        output = around[-2].output
        return [_type(output.typeName)] if output is not None else []
    return None


def _type(name: Any) -> str:
    quoted = sql.Identifier(*_names(name.names)).as_string()
    return f"{quoted}[]" if name.arrayBounds else quoted


def _names(names: Any) -> list[str]:
    return [name.sval for name in names]


def _kind(node: Any) -> str:
    return type(node).__name__


def _expected(plain: Any, literals: Mapping[str, str | None]) -> Any:
    """A plain tree with what is in the places of literals: NULL, or the value of one that stays."""
    if isinstance(plain, list):
        return [_expected(part, literals) for part in plain]
    if not isinstance(plain, tuple):
        return plain
    kind, members = plain
    value = members.get("val")
    if kind == "A_Const" and isinstance(value, tuple) and value[1].get("sval") in literals:
        stays = literals[value[1]["sval"]]
        return kind, {"isnull": True} if stays is None else members | {"val": ("String", {"sval": stays})}
    return kind, {name: _expected(part, literals) for name, part in members.items()}
