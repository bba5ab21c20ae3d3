"""The bodies of functions that a text calls: which of them look nothing up that a writer could put first.

A writer's temporary schema holds tables, views and types that would be found; PostgreSQL never looks for a
function or an operator there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from azpg_provision.target.target import Connection

RUN_SQL = frozenset(
    {
        *("query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml"),
        *("cursor_to_xmlschema", "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema"),
        *("schema_to_xml", "schema_to_xmlschema", "schema_to_xml_and_xmlschema", "database_to_xml"),
        *("database_to_xmlschema", "database_to_xml_and_xmlschema", "ts_stat", "ts_rewrite"),
        *("pg_input_is_valid", "pg_input_error_info"),
    }
)
"""PostgreSQL's own functions that run a text of SQL, whose names are looked up then; or that find a type by
its name, and compute the conditions of a domain that a writer can have made."""
_OWN = "pg_catalog"
_COLLATIONS = frozenset({"C", "POSIX", "default"})
# What is not: a string that one of these reads is the name of a text search configuration or dictionary.
_KNOWN = """
SELECT NOT EXISTS (
    SELECT FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS wanted (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc AS function
        WHERE function.proname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
          AND function.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace)
       OR EXISTS (
        SELECT FROM pg_catalog.pg_proc AS function, pg_catalog.unnest(function.proargtypes) AS argument (type)
        WHERE function.proname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
          AND argument.type OPERATOR(pg_catalog.=) ANY (
              '{pg_catalog.regconfig,pg_catalog.regdictionary}'::pg_catalog.regtype[]::pg_catalog.oid[]))
) AND NOT EXISTS (
    SELECT FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS wanted (name)
    WHERE wanted.name OPERATOR(pg_catalog.=) ANY ('{regconfig,regdictionary}'::pg_catalog.text[])
       OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_type AS type
        WHERE type.typname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name
          AND type.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace))
"""


def is_plain(connection: Connection, body: str) -> bool:
    """Whether a function's body in SQL is one SELECT of nothing but PostgreSQL's own functions and types.

    Such a body, as of ``SELECT lower($1)``, means the same whatever its caller has in sight. One that finds
    words by a text search configuration does not: its name is looked up when it runs.
    """
    from pglast import Error, parser  # noqa: PLC0415 - a parser of 10 MB

    if "\\" in body or "null" in body.lower():  # what these mean is a setting of the caller's
        return False
    try:
        statements = parser.parse_sql(body)
    except Error:
        return False
    if [type(one.stmt).__name__ for one in statements] != ["SelectStmt"]:
        return False
    named = _named(statements[0].stmt)
    if named is None or named[0] & RUN_SQL:
        return False
    return connection.execute(_KNOWN, [sorted(names) for names in named]).fetchone() == (True,)


def _named(tree: Any) -> tuple[set[str], set[str]] | None:
    """The functions and types of a statement; None where it reads a table, or names another schema."""
    functions: set[str] = set()
    types: set[str] = set()
    for node in _nodes(tree):
        kind = type(node).__name__
        if kind in {"RangeVar", "IntoClause"}:
            return None
        if kind == "CollateClause" and not {part.sval for part in node.collname} <= _COLLATIONS | {_OWN}:
            return None
        if kind in {"FuncCall", "TypeName", "A_Expr"}:
            field = {"FuncCall": "funcname", "TypeName": "names", "A_Expr": "name"}[kind]
            *schema, name = [part.sval for part in getattr(node, field) or ()] or [""]
            if schema not in ([], [_OWN]):
                return None
            if kind != "A_Expr":
                (functions if kind == "FuncCall" else types).add(name)
    return functions, types


def _nodes(tree: Any) -> Iterator[Any]:
    from pglast.ast import Node  # noqa: PLC0415

    if isinstance(tree, tuple):
        for one in tree:
            yield from _nodes(one)
    elif isinstance(tree, Node):
        yield tree
        for name in tree:
            yield from _nodes(getattr(tree, name))
