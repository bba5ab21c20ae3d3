"""Whether a query may be run for a look: only if all that it calls is PostgreSQL's own, and IMMUTABLE.

A spec's expression is somebody's program. PostgreSQL itself says what it calls: it parses a PREPARE, which
runs nothing, and prints the tree (`debug_print_parse`) with the number of every function that it has chosen.
To look the names up ourselves would be another parser with other rules, and objects that depend on them could
not be made in a transaction that may not write. What is found fit is then run by EXECUTE, so that no name is
looked up again: somebody could have put another function in sight meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.errors import Diagnostic

from azpg_provision.target.target import Connection

_PART = re.compile(r"[(){}]|(?:\\.|[^\s(){}\\])+", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_TREE = "parse tree:"
_SELECT = "1"
_TABLE = "r"

# What a node of an expression calls, by the name that PostgreSQL 15 to 18 print it by. A node that is not
# here may call what it does not tell, such as the constraints of a domain: then nothing is run.
CALLS = {
    "AGGREF": ("aggfnoid",),
    "FUNCEXPR": ("funcid",),
    "OPEXPR": ("opfuncid",),
    "DISTINCTEXPR": ("opfuncid",),
    "NULLIFEXPR": ("opfuncid",),
    "SCALARARRAYOPEXPR": ("opfuncid",),
}
PLAIN = frozenset(
    """
    QUERY RANGETBLENTRY RTE ALIAS FROMEXPR RANGETBLREF TARGETENTRY RTEPERMISSIONINFO PARAM
    VAR CONST BOOLEXPR RELABELTYPE COERCEVIAIO ARRAYCOERCEEXPR CASETESTEXPR NULLTEST BOOLEANTEST
    CASE CASEEXPR WHEN CASEWHEN ARRAY ARRAYEXPR COALESCE COALESCEEXPR MINMAX MINMAXEXPR COLLATE COLLATEEXPR
    SUBSCRIPTINGREF
    """.split()
)
_TYPES = frozenset(
    """
    aggtype array_typeid casetype coalescetype consttype element_typeid funcresulttype minmaxtype opresulttype
    paramtype refcontainertype refelemtype refrestype resulttype typeId vartype
    """.split()
)
# A function that is trusted: a superuser's, as PostgreSQL's own and those of extensions are, and bound for
# good: the names in the text of another would be looked up when it is called.
_TRUSTED = """
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc AS function
        JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) function.proowner
        JOIN pg_catalog.pg_language AS language ON language.oid OPERATOR(pg_catalog.=) function.prolang
        WHERE function.oid OPERATOR(pg_catalog.=) ANY (%(functions)s::pg_catalog.oid[]) AND owner.rolsuper
              AND function.provolatile OPERATOR(pg_catalog.=) 'i'
              AND (language.lanname OPERATOR(pg_catalog.=) ANY (CAST('{internal,c}' AS pg_catalog.name[]))
                   OR function.prosqlbody IS NOT NULL)),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS type
        JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) type.typowner
        WHERE type.oid OPERATOR(pg_catalog.=) ANY (%(types)s::pg_catalog.oid[]) AND owner.rolsuper),
       -- Casts by way of text: what the one type prints, and the other reads.
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS type
        JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) type.typoutput
        WHERE type.oid OPERATOR(pg_catalog.=) ANY (%(printed)s::pg_catalog.oid[])
              AND function.provolatile OPERATOR(pg_catalog.=) 'i'),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS type
        JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) type.typinput
        WHERE type.oid OPERATOR(pg_catalog.=) ANY (%(read)s::pg_catalog.oid[])
              AND function.provolatile OPERATOR(pg_catalog.=) 'i'),
       -- Parameters, which are read as literals are: nothing with parts, which may be others'.
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS type
        LEFT JOIN pg_catalog.pg_type AS element
               ON element.oid OPERATOR(pg_catalog.=) type.typelem
              AND type.typcategory OPERATOR(pg_catalog.=) 'A'
        WHERE type.oid OPERATOR(pg_catalog.=) ANY (%(given)s::pg_catalog.oid[])
              AND type.typtype OPERATOR(pg_catalog.=) ANY (CAST('{b,e}' AS pg_catalog."char"[]))
              AND coalesce(element.typtype, 'b') OPERATOR(pg_catalog.=)
                  ANY (CAST('{b,e}' AS pg_catalog."char"[])))
"""


@dataclass(slots=True)
class Node:
    """A node of a parse tree: its tag, and what stands in each of its fields, in order."""

    tag: str
    fields: list[tuple[str, list[Node | str]]] = field(default_factory=list)

    def numbers(self, names: frozenset[str] | tuple[str, ...]) -> Iterator[int]:
        """The numbers in fields of these names; 0 for what is none."""
        for name, values in self.fields:
            if name in names:
                first = values[0] if values else ""
                yield int(first) if isinstance(first, str) and _NUMBER.fullmatch(first) else 0

    def text(self, name: str) -> str | None:
        """The first field of a name, None where there is none."""
        for one, values in self.fields:
            if one == name and values and isinstance(values[0], str):
                return values[0]
        return None

    def nodes(self) -> Iterator[Node]:
        """This one and all below it, whatever the fields are called."""
        yield self
        for _, values in self.fields:
            for value in values:
                if isinstance(value, Node):
                    yield from value.nodes()


def tree(text: str) -> Node | None:
    """The parse tree that PostgreSQL has printed, None for what is none."""
    parts = _PART.findall(text)
    stack: list[Node] = []
    top: Node | None = None
    place = 0
    while place < len(parts):
        part = parts[place]
        place += 1
        if part == "{":
            if place == len(parts) or top is not None:
                return None
            stack.append(Node(parts[place], [("", [])]))
            place += 1
        elif part == "}":
            if not stack:
                return None
            done = stack.pop()
            if stack:
                stack[-1].fields[-1][1].append(done)
            else:
                top = done
        elif not stack:
            return None
        elif part[0] == ":":
            stack[-1].fields.append((part[1:], []))
        elif part not in "()":
            stack[-1].fields[-1][1].append(part)
    return top if not stack else None


def prepare_if_fit(connection: Connection, name: str, statement: sql.Composable) -> bool:
    """Prepares a query, and says whether it may be run by EXECUTE; otherwise it is not there.

    Args:
        connection: in a transaction, whose search_path finds the names of the query.
        name: of the statement.
        statement: ``name (types) AS query``, the query over ordinary tables, without parameters of psycopg.

    Raises what PostgreSQL says of a query that it cannot read.
    """
    printed: list[str] = []

    def keep(said: Diagnostic) -> None:
        if said.message_primary == _TREE:
            printed.append(said.message_detail or "")

    connection.add_notice_handler(keep)
    try:
        connection.execute("SET LOCAL debug_pretty_print = off")
        connection.execute("SET LOCAL client_min_messages = log")
        connection.execute("SET LOCAL debug_print_parse = on")
        # Binary: by the protocol that takes one statement only.
        connection.execute(sql.SQL("PREPARE {}").format(statement), binary=True)
        connection.execute("SET LOCAL debug_print_parse = off")
        connection.execute("SET LOCAL client_min_messages = warning")
    finally:
        connection.remove_notice_handler(keep)
    trees = [one for one in map(tree, printed) if one is not None and one.text("commandType") == _SELECT]
    if len(trees) == 1 and _is_fit(connection, trees[0]):
        return True
    connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))
    return False


def _is_fit(connection: Connection, top: Node) -> bool:
    functions, types, printed, read, given = (set[int]() for _ in range(5))
    for node in top.nodes():
        if node.tag not in PLAIN and node.tag not in CALLS:
            return False
        if (
            node.tag in {"RTE", "RANGETBLENTRY"}
            and node.text("rtekind") == "0"
            and node.text("relkind") != _TABLE
        ):
            return False
        functions |= set(node.numbers(CALLS.get(node.tag, ())))
        types |= set(node.numbers(_TYPES))
        if node.tag == "PARAM":
            given |= set(node.numbers(("paramtype",)))
        if node.tag == "COERCEVIAIO":
            read |= set(node.numbers(("resulttype",)))
            printed |= {type_of(value) for value in dict(node.fields).get("arg", [])}
    row = connection.execute(
        _TRUSTED,
        {
            "functions": sorted(functions),
            "types": sorted(types),
            "printed": sorted(printed),
            "read": sorted(read),
            "given": sorted(given),
        },
    ).fetchone()
    return row == (len(functions), len(types), len(printed), len(read), len(given))


def type_of(value: Node | str) -> int:
    """The type of an expression; 0, which is none, where it does not tell."""
    if not isinstance(value, Node):
        return 0
    if value.tag in {"BOOLEXPR", "SCALARARRAYOPEXPR", "NULLTEST", "BOOLEANTEST"}:
        return 16
    found = list(value.numbers(_TYPES - {"element_typeid", "refcontainertype", "refelemtype"}))
    return found[0] if len(found) == 1 else 0
