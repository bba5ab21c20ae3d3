"""The SQL of an init file: whether PostgreSQL would read it, and whether it can run in one transaction."""

from __future__ import annotations

import re
from typing import Any

MAX_BYTES = 64_000_000
_ALLOWED = "each file is one transaction"
_QUOTED = re.compile(r'".*"', re.DOTALL)
_OF_DUMP = "SELECT pg_catalog.set_config('search_path', '', false)"
DEFAULT_PATH: tuple[str, ...] = ("public", "pg_temp")
"""Where the names of a file are looked up that does not begin with a search_path of its own."""


def checked(data: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and the search_path that it begins with, by the names of its schemas.

    Raises `ValueError`, in words with a line, for what cannot be run as it stands.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"is too large: use {MAX_BYTES} bytes at most, and load data with COPY")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"line {_line(data, error.start)} is not UTF-8: save the file as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds a NUL character")
    return text, _check(text, data)


def _check(text: str, data: bytes) -> tuple[str, ...]:
    from pglast import ast, parser  # noqa: PLC0415 - a parser of 10 MB

    try:
        found = parser.parse_sql(text)
    except parser.ParseError as error:
        said, place = error.args[0], error.args[1] if len(error.args) > 1 else None
        line = _text_line(text, place) if isinstance(place, int) else 1
        hint = " (psql's own commands are not SQL)" if '"\\"' in said else ""
        raise ValueError(f"line {line}: {_without_content(said)}{hint}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    for one in found:
        start = one.stmt_location or 0
        line = _line(data, start + _blanks(data, start))
        if isinstance(one.stmt, ast.TransactionStmt):
            raise ValueError(f"line {line} begins or ends a transaction: leave that out, {_ALLOWED}")
        if isinstance(one.stmt, ast.CopyStmt) and one.stmt.filename is None:
            raise ValueError(f"line {line} is COPY with the client's data: use INSERT, or load it later")
    return _path([one.stmt for one in found])


def _path(found: list[Any]) -> tuple[str, ...]:
    """The search_path that is set before anything but settings, as a person or pg_dump sets it."""
    from pglast import ast, enums, parser  # noqa: PLC0415

    (of_dump,) = parser.parse_sql(_OF_DUMP)
    path = DEFAULT_PATH
    for one in found:
        if one == of_dump.stmt:
            path = ()
        elif not isinstance(one, ast.VariableSetStmt):
            break
        elif (one.name or "").lower() == "search_path":
            given = one.kind == enums.VariableSetKind.VAR_SET_VALUE
            path = tuple(_name(part.val) for part in one.args or ()) if given else DEFAULT_PATH
    return path


def _name(value: Any) -> str:
    """A schema in a SET, which may also be a number."""
    return str(next(getattr(value, slot) for slot in ("sval", "ival", "fval") if hasattr(value, slot)))


def _without_content(said: str) -> str:
    """What the parser said, without what stands in the file: that may be none of a spec's, but a secret."""
    return _QUOTED.sub("…", said.partition(" at or near ")[0].partition(" at end of input")[0])


def _blanks(data: bytes, start: int) -> int:
    """How many blanks lie between two statements."""
    rest = data[start : start + 10_000]
    return len(rest) - len(rest.lstrip())


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _text_line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
