"""Whether a column's text is made of its row alone, or of something that may change within a statement.

With ``sync: trigger`` one trigger embeds a row before it is written, and another notes afterwards of which
text its vector is. A statement may change between them what a text reads besides its row: a table, a setting.
Such a text is embedded once more by the second (verify.sql). So that no other costs that, what a text calls
is looked up in its tree, as PostgreSQL has bound it.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.live.immutable import CALLS, PLAIN, Node, tree, type_of
from azpg_provision.target.target import Connection

_SELECT_FROM = frozenset({"RTE", "RANGETBLENTRY"})
_RELATION = "0"
# The tree; whether it depends on a table, or a function that is not IMMUTABLE, of those that do not come with
# PostgreSQL; and the trees of those that are bound, which may say that they are IMMUTABLE and call others.
_TEXT = """
WITH RECURSIVE azpg_text AS (
    SELECT function.oid, function.prosqlbody::pg_catalog.text AS body
    FROM pg_catalog.pg_proc AS function
    WHERE function.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
      AND function.proname OPERATOR(pg_catalog.=) {name}
), azpg_reached (class, object) AS (
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, azpg_text.oid FROM azpg_text
    UNION
    SELECT depend.refclassid, depend.refobjid
    FROM azpg_reached
    JOIN pg_catalog.pg_depend AS depend ON depend.classid OPERATOR(pg_catalog.=) azpg_reached.class
                                       AND depend.objid OPERATOR(pg_catalog.=) azpg_reached.object
    WHERE azpg_reached.class OPERATOR(pg_catalog.=) ANY (
        '{{pg_catalog.pg_proc,pg_catalog.pg_operator}}'::pg_catalog.regclass[]::pg_catalog.oid[])
)
SELECT azpg_text.body, EXISTS (
    SELECT FROM azpg_reached
    LEFT JOIN pg_catalog.pg_proc AS function
           ON azpg_reached.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
          AND function.oid OPERATOR(pg_catalog.=) azpg_reached.object
          AND function.oid OPERATOR(pg_catalog.<>) azpg_text.oid
    WHERE azpg_reached.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
       OR function.provolatile OPERATOR(pg_catalog.<>) 'i'),
       ARRAY(SELECT function.prosqlbody::pg_catalog.text FROM azpg_reached
             JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) azpg_reached.object
             WHERE azpg_reached.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
               AND function.oid OPERATOR(pg_catalog.<>) azpg_text.oid AND function.prosqlbody IS NOT NULL)
FROM azpg_text
"""
# How many of the functions are IMMUTABLE, or STABLE only for what values look like as text; which are the
# latter; of which types values always look the same; of how many they are always read the same. Dates look
# alike for all (`azpg_provision.sync.session.FORMATS`), and names of an enum are its owner's to change.
_STEADY = """
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc AS function
        WHERE function.oid OPERATOR(pg_catalog.=) ANY ({functions}::pg_catalog.int8[]::pg_catalog.oid[])
          AND (function.provolatile OPERATOR(pg_catalog.=) 'i'
               OR function.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
                  AND function.proname OPERATOR(pg_catalog.=) ANY ({texts}::pg_catalog.name[]))
          -- What EST is, a setting says: to set it for each call would be to read a file each time.
          AND function.oid OPERATOR(pg_catalog.<>) ALL (
              '{{"timezone(text, timestamp)","timezone(text, timestamptz)","timezone(text, timetz)"}}'
              ::pg_catalog.regprocedure[]::pg_catalog.oid[])),
       (SELECT pg_catalog.array_agg(function.oid::pg_catalog.int8) FROM pg_catalog.pg_proc AS function
        WHERE function.oid OPERATOR(pg_catalog.=) ANY ({functions}::pg_catalog.int8[]::pg_catalog.oid[])
          AND function.provolatile OPERATOR(pg_catalog.<>) 'i'),
       (SELECT pg_catalog.array_agg(type.oid::pg_catalog.int8)
        FROM pg_catalog.pg_type AS type
        LEFT JOIN pg_catalog.pg_type AS element ON element.oid OPERATOR(pg_catalog.=) type.typelem
              AND type.typcategory OPERATOR(pg_catalog.=) 'A'
        JOIN pg_catalog.pg_proc AS function
             ON function.oid OPERATOR(pg_catalog.=) coalesce(element.typoutput, type.typoutput)
        WHERE type.oid OPERATOR(pg_catalog.=) ANY ({printed}::pg_catalog.int8[]::pg_catalog.oid[])
          AND (function.provolatile OPERATOR(pg_catalog.=) 'i'
               OR function.oid OPERATOR(pg_catalog.=) ANY (
                   '{{date_out,timestamp_out,timestamptz_out,enum_out}}'::pg_catalog.regproc[]::pg_catalog.oid[]))),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type AS type
        JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) type.typinput
        WHERE type.oid OPERATOR(pg_catalog.=) ANY ({read}::pg_catalog.int8[]::pg_catalog.oid[])
          AND function.provolatile OPERATOR(pg_catalog.=) 'i')
"""
_BY_SETTINGS = """
SELECT pg_catalog.format_type(type.oid, NULL)
FROM pg_catalog.pg_type AS type
LEFT JOIN pg_catalog.pg_type AS element ON element.oid OPERATOR(pg_catalog.=) type.typelem
      AND type.typcategory OPERATOR(pg_catalog.=) 'A'
WHERE type.oid OPERATOR(pg_catalog.=) ANY ({printed}::pg_catalog.int8[]::pg_catalog.oid[])
  AND coalesce(element.typoutput, type.typoutput)::pg_catalog.oid OPERATOR(pg_catalog.=) ANY (
      '{{float4out,float8out,interval_out,byteaout}}'::pg_catalog.regproc[]::pg_catalog.oid[])
LIMIT 1
"""
_TEXTS = ["anytextcat", "array_to_string", "concat", "concat_ws", "format", "textanycat"]


def is_volatile(connection: Connection, column: VectorColumn) -> bool:
    """Whether the text of a row may be another one at the end of a statement that does not change the row.

    Args:
        connection: in any transaction, or none.
        column: whose text is `bound`.

    True where that cannot be told.
    """
    row = connection.execute(sql.SQL(_TEXT).format(name=sql.Literal(f"text_{column.id}"))).fetchone()
    if row is None or row[0] is None or row[1]:
        return True
    tops = [tree(text) for text in (row[0], *row[2])]
    return not all(top is not None and _is_steady(connection, top) for top in tops)


def printed_by_settings(connection: Connection, column: VectorColumn) -> str:
    """The type of what a text prints as a setting says, though PostgreSQL calls that IMMUTABLE.

    Args:
        connection: in any transaction.
        column: whose text is `bound`.

    Empty if there is none.
    """
    row = connection.execute(sql.SQL(_TEXT).format(name=sql.Literal(f"text_{column.id}"))).fetchone()
    texts = (row[0], *row[2]) if row is not None and row[0] is not None else ()
    nodes = [node for top in map(tree, texts) if top is not None for node in top.nodes()]
    printed = {type_of(value) for node in nodes if node.tag == "COERCEVIAIO" for value in _field(node, "arg")}
    found = connection.execute(sql.SQL(_BY_SETTINGS).format(printed=sql.Literal(sorted(printed)))).fetchone()
    return found[0] if found is not None else ""


def _is_steady(connection: Connection, top: Node) -> bool:
    """Whether nothing in a tree is but the arguments and what is IMMUTABLE, or as good as that."""
    functions, printed, read = (set[int]() for _ in range(3))
    calls: list[tuple[int, set[int]]] = []
    for node in top.nodes():
        if node.tag not in PLAIN and node.tag not in CALLS and node.tag != "SUBLINK":
            return False
        if node.tag in _SELECT_FROM and node.text("rtekind") == _RELATION:
            return False
        given = {type_of(value) for value in _field(node, "arg") + _field(node, "args")}
        if node.tag in CALLS:
            called = set(node.numbers(CALLS[node.tag]))
            functions |= called
            calls += [(function, given) for function in called]
        if node.tag == "COERCEVIAIO":
            printed |= given
            read |= set(node.numbers(("resulttype",)))
    if not functions and not printed:
        return True
    every = printed.union(*(given for _, given in calls))
    found = connection.execute(
        sql.SQL(_STEADY).format(
            functions=sql.Literal(sorted(functions)),
            texts=sql.Literal(_TEXTS),
            printed=sql.Literal(sorted(every)),
            read=sql.Literal(sorted(read)),
        )
    ).fetchone()
    assert found is not None
    steady, stable, alike, readable = found[0], set(found[1] or ()), set(found[2] or ()), found[3]
    looks = printed.union(*(given for function, given in calls if function in stable))
    return bool(steady == len(functions) and readable == len(read) and looks <= alike)


def _field(node: Node, name: str) -> list[Any]:
    return [value for field, values in node.fields if field == name for value in values]
