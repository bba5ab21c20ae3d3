"""A column's text as a function, whose names were looked up once, by who applied it.

``azpg.text_N(the columns that it names) RETURN (expression)`` is parsed when it is made (PostgreSQL 14 and
newer): every function, operator and cast in it is a number from then on. A better match by the same name,
that somebody makes later in a schema where names are looked up, is never called. PostgreSQL puts its body in
the place of a call, so that it costs nothing.

It takes columns, not the table's row type, on which it would depend: the table and its columns are dropped,
renamed and changed as if it were not there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import ApplyFailed, LedgerMismatch
from azpg_provision.ledger.access import closing
from azpg_provision.ledger.applied import KNOWS, is_as_applied
from azpg_provision.live.text import typed
from azpg_provision.live.values import listed
from azpg_provision.spec import expression
from azpg_provision.sync import acting, dependencies
from azpg_provision.sync.bodies import RUN_SQL
from azpg_provision.sync.judging import Verdict, verdicts
from azpg_provision.sync.session import search_path
from azpg_provision.target.target import Connection

MOST_COLUMNS = 100
"""PostgreSQL's limit of a function's arguments."""
UNBOUND = (
    "the function of its text in schema azpg is not as azpg makes it, or was made by an earlier azpg: run "
    "`azpg apply`, which embeds nothing anew for that"
)
"""Why rows of a column are not embedded now, and what to do."""
CHANGED = (
    "its table, the schema, the type of a column, what its text calls, or whose they are has changed since "
    "then: run `azpg apply`, which sees whether that is safe"
)
"""The same, of what azpg_provision/ledger/applied.py is about."""
_ARGUMENTS = """
SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
           attribute.attname,
           pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.', pg_catalog.quote_ident(type.typname)),
           CASE WHEN attribute.attcollation OPERATOR(pg_catalog.<>) type.typcollation THEN
               pg_catalog.concat(pg_catalog.quote_ident(place.nspname), '.',
                                 pg_catalog.quote_ident(rule.collname))
           END))
FROM pg_catalog.pg_attribute AS attribute
JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
LEFT JOIN pg_catalog.pg_collation AS rule ON rule.oid OPERATOR(pg_catalog.=) attribute.attcollation
LEFT JOIN pg_catalog.pg_namespace AS place ON place.oid OPERATOR(pg_catalog.=) rule.collnamespace
WHERE attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
  AND attribute.attname OPERATOR(pg_catalog.=) ANY (wanted.columns::pg_catalog.name[])
  AND NOT attribute.attisdropped
"""
_FUNCTION = "CREATE FUNCTION {name}({arguments}) RETURNS pg_catalog.text LANGUAGE sql STABLE RETURN {text}"
# PostgreSQL notes no dependency on functions of its own: those are found by what could be a name in the text.
# What a function depends on but its schema is to be judged.
_UNSAFE = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS depend
    WHERE depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND depend.objid OPERATOR(pg_catalog.=) %(oid)s::pg_catalog.oid
      AND depend.refclassid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_namespace'::pg_catalog.regclass
), EXISTS (
    SELECT FROM (
        SELECT named.oid FROM pg_catalog.pg_proc AS named
        WHERE named.proname OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.name[])
        UNION ALL
        SELECT depend.refobjid FROM pg_catalog.pg_depend AS depend
        WHERE depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
          AND depend.objid OPERATOR(pg_catalog.=) %(oid)s::pg_catalog.oid
          AND depend.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
        UNION ALL
        SELECT operator.oprcode::pg_catalog.oid FROM pg_catalog.pg_depend AS depend
        JOIN pg_catalog.pg_operator AS operator ON operator.oid OPERATOR(pg_catalog.=) depend.refobjid
        WHERE depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
          AND depend.objid OPERATOR(pg_catalog.=) %(oid)s::pg_catalog.oid
          AND depend.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
    ) AS called (oid)
    JOIN pg_catalog.pg_proc AS function ON function.oid OPERATOR(pg_catalog.=) called.oid
    WHERE function.proparallel OPERATOR(pg_catalog.<>) 's')
"""
_DEPENDED_ON = """
SELECT 0::pg_catalog.int8, depend.refclassid, depend.refobjid
    FROM pg_catalog.pg_depend AS depend
    WHERE depend.classid OPERATOR(pg_catalog.=) {class_}::pg_catalog.regclass
      AND depend.objid OPERATOR(pg_catalog.=) {object_}::pg_catalog.oid
"""
_OF_TYPES = """
SELECT 0::pg_catalog.int8, 'pg_catalog.pg_type'::pg_catalog.regclass, type.oid
    FROM pg_catalog.unnest({types}::pg_catalog.int8[]::pg_catalog.oid[]) AS type (oid)
"""
_NAME = re.compile(r'([^\W\d]\w*|"(?:[^"]|"")+")\s*\(')
_BOUND = """
SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
           pg_catalog.obj_description(function.oid, 'pg_proc'), function.proargnames,
           ARRAY(SELECT pg_catalog.concat(pg_catalog.quote_ident(home.nspname), '.',
                                          pg_catalog.quote_ident(type.typname))
                 FROM pg_catalog.unnest(function.proargtypes) WITH ORDINALITY AS argument (type, number)
                 JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) argument.type
                 JOIN pg_catalog.pg_namespace AS home ON home.oid OPERATOR(pg_catalog.=) type.typnamespace
                 ORDER BY argument.number),
           function.prosqlbody IS NOT NULL AND NOT function.prosecdef AND function.proconfig IS NULL
           AND function.provolatile OPERATOR(pg_catalog.=) 's'
           AND function.proacl::pg_catalog.text OPERATOR(pg_catalog.=) ARRAY[pg_catalog.makeaclitem(
               function.proowner, function.proowner, 'EXECUTE', false)]::pg_catalog.text
           AND function.proowner OPERATOR(pg_catalog.=) (
               SELECT class.relowner FROM pg_catalog.pg_class AS class
               WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation))))
FROM pg_catalog.pg_proc AS function
WHERE function.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND function.proname OPERATOR(pg_catalog.=) pg_catalog.concat('text_', wanted.id)::pg_catalog.name
"""
_FUNCTIONS = """
SELECT wanted.id, ({made}), ({bound}), ({arguments}), {knows}
FROM (VALUES {wanted}) AS wanted (id, relation, columns, body)
"""
_GIVEN = "SELECT ({arguments}) FROM (VALUES {wanted}) AS wanted (id, relation, columns)"
_Argument = tuple[str, str, str | None]
"""A column of a text, its type, and its collation where that is not the type's; qualified."""


def bind(connection: Connection, column: VectorColumn, *, strict: bool = True) -> sql.Composed:
    """Makes the function of a column's text, in the caller's transaction, as the table's owner.

    There must be none, and the owner must be able to create in schema azpg (`azpg_provision.ledger.access`).
    Returns it with its arguments' types.

    Names are looked up as `azpg_provision.sync.session.schemas` says, now and never again. Raises
    `ApplyFailed` where it names what others own than a superuser, this role, and the table's owner: they
    could make something else of it, to be run with the rights of the table's owner; and, if `strict`, where
    it calls a function that looks names up each time, among which a writer could put others.
    """
    arguments = _arguments(connection, column)
    if len(arguments) > MOST_COLUMNS:
        raise ApplyFailed(
            f"{column.name} is made of {len(arguments)} columns: use {MOST_COLUMNS} at most, or let a "
            "generated column of text put them together."
        )
    missing = sorted(set(column.text_columns) - {name for name, _, _ in arguments})
    if missing:
        raise ApplyFailed(
            f"{column.name} is made of {missing[0]!r}, which its table has not: run `azpg plan`."
        )
    if strict and (running := sorted(expression.functions_of(column.text) & RUN_SQL)):
        raise ApplyFailed(
            f"the text of {column.name} calls {running[0]}(), which runs a text as SQL or as the name of "
            "a type, with the rights of the table's owner: leave that out, or let a generated column of text "
            "hold what it makes."
        )
    text: sql.Composable = replace(column, text=_judge_literals(connection, column, strict=strict)).source
    if any(collation for _, _, collation in arguments):  # an argument has none of its own
        columns = [
            sql.SQL("{0}{1} AS {0}").format(
                sql.Identifier(name), sql.SQL(f" COLLATE {collation}" if collation else "")
            )
            for name, _, collation in arguments
        ]
        text = sql.SQL("(SELECT {} FROM (SELECT {}) AS {})").format(
            text, sql.SQL(", ").join(columns), sql.Identifier(column.table)
        )
    statement = sql.SQL(_FUNCTION).format(
        name=column.text_function,
        arguments=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_)) for name, type_, _ in arguments
        ),
        text=text,
    )
    signature = sql.SQL("{}({})").format(
        column.text_function, sql.SQL(", ").join(sql.SQL(type_) for _, type_, _ in arguments)
    )
    acting.command(connection, column, named(column, statement))
    if not acting.made(connection, column):  # reading the text ran what its owner wrote
        raise ApplyFailed(
            f"what belongs to {column.name} was changed in schema azpg while its text was read: look at the "
            "types of its table's owner, and their conditions."
        )
    oid = _commented(connection, signature, _mark(column))
    row = connection.execute(_UNSAFE, {"names": _called(column.text), "oid": oid}).fetchone()
    assert row is not None
    depends, unsafe = row
    if depends:
        judge(connection, column, "pg_catalog.pg_proc", oid, strict=strict)
    statement = closing("FUNCTION", signature)
    if not unsafe:  # so that the rows of a large table are looked at by several processes
        statement = sql.SQL("ALTER FUNCTION {} PARALLEL SAFE; {}").format(signature, statement)
    connection.execute(statement)
    return signature


def bound(connection: Connection, column: VectorColumn) -> bool:
    """Whether rows can be embedded: see `unbound`."""
    return not unbound(connection, column)


def unbound(connection: Connection, column: VectorColumn) -> str:
    """Why rows of a column cannot be embedded now, and what to do; empty if they can.

    The functions are there by which they are: of the text, and to act as the owner; and nobody else has a say
    in the key's types, such as by a domain that went to another role, or in what is attached to the table.

    The text's function is of the text and prefix that the column has, for its columns' types. What it does is
    not compared: only the owner of schema azpg could have replaced it.
    """
    return unbound_of(connection, [column])[column.id]


def unbound_of(
    connection: Connection, columns: Sequence[VectorColumn], known: Mapping[int, Verdict] | None = None
) -> dict[int, str]:
    """`unbound` of many columns, by their numbers.

    Args:
        connection: in any transaction, or none.
        columns: as the ledger has them.
        known: what there is to say of their tables, by columns' numbers, if that has just been asked.
    """
    if not columns:
        return {}
    functions = _functions(connection, columns)
    if known is None:
        asked = [one for one in columns if functions[one.id][0] is not None]
        found = verdicts(connection, [acting.wanted_of(one) for one in asked])
        known = {one.id: verdict for one, verdict in zip(asked, found, strict=True)}
    same = is_as_applied(connection, [one for one in columns if functions[one.id][2]])
    answers = {}
    for one in columns:
        is_made, has_text, _ = functions[one.id]
        why = ""
        if is_made is not None:
            why = known[one.id].foreign if is_made else known[one.id].key
        is_bound = is_made and (has_text or not needs_text(one))
        answers[one.id] = why or ("" if is_bound and one.id in same else CHANGED if is_bound else UNBOUND)
    # Of most there are none.
    without = acting.hands(connection, [one for one in columns if answers[one.id] in {CHANGED, UNBOUND}])
    return answers | {one.id: gone(one) for one in columns if one.id in without and not without[one.id].owner}


def gone(column: VectorColumn) -> str:
    """Why rows of a column whose table is gone are not embedded, and what to do."""
    return (
        f"there is no table {column.relation.as_string()} any more: run `azpg plan`, which says what there is"
    )


def check(connection: Connection, column: VectorColumn) -> None:
    """Raises `LedgerMismatch` for a column that is `unbound`."""
    if why := unbound(connection, column):
        raise LedgerMismatch(f"{column.name}: {why}.")


def _functions(
    connection: Connection, columns: Sequence[VectorColumn]
) -> dict[int, tuple[bool | None, bool, bool]]:
    """Whether columns' functions are as they are made, by number: to act, None if absent, and of the text.

    And whether the ledger knows what their tables were then.
    """
    query = sql.SQL(_FUNCTIONS).format(
        made=sql.SQL(acting.MADE).format(),
        bound=sql.SQL(_BOUND).format(),
        arguments=sql.SQL(_ARGUMENTS).format(),
        knows=sql.SQL(KNOWS),
        wanted=listed(
            [
                one.id,
                one.relation.as_string(connection),
                list(one.text_columns),
                acting.body(connection, one),
            ]
            for one in columns
        ),
    )
    found = {number: rest for number, *rest in connection.execute(query).fetchall()}
    return {
        one.id: (
            found[one.id][0],
            _is_text_of(one, found[one.id][1] or [], _sorted(found[one.id][2])),
            found[one.id][3],
        )
        for one in columns
    }


def _is_text_of(column: VectorColumn, functions: Sequence[Sequence[Any]], given: Sequence[_Argument]) -> bool:
    """Whether of functions there is one, of the column's text and of its table's columns as they are."""
    names, types = [name for name, _, _ in given], [_alike(type_) for _, type_, _ in given]
    found = [[mark, taken, [_alike(type_) for type_ in of], fine] for mark, taken, of, fine in functions]
    return found == [[_mark(column), names or None, types, True]] and tuple(names) == column.text_columns


def named(column: VectorColumn, statement: sql.Composable) -> sql.Composed:
    """The statement, with the names in sight that a column's text may use when it is applied.

    To be done by `azpg_provision.sync.acting.command`, which sees to it that they go out of sight again.
    """
    return sql.SQL("SET LOCAL search_path = {}; {}").format(search_path(column), statement)


def _arguments(connection: Connection, column: VectorColumn) -> list[_Argument]:
    """The columns of the text by name."""
    wanted = listed([(column.id, column.relation.as_string(connection), list(column.text_columns))])
    query = sql.SQL(_GIVEN).format(arguments=sql.SQL(_ARGUMENTS).format(), wanted=wanted)
    row = connection.execute(query).fetchone()
    assert row is not None
    return _sorted(row[0])


def _sorted(arguments: Sequence[Sequence[Any]] | None) -> list[_Argument]:
    return sorted((name, type_, collation) for name, type_, collation in arguments or ())


def _called(text: str) -> list[str]:
    """What could be the name of a function in a text."""
    return [
        name.strip('"').replace('""', '"') if '"' in name else name.lower() for name in _NAME.findall(text)
    ]


def _alike(type_: str) -> str:
    """The type of an argument that takes values of this one, too."""
    return "pg_catalog.text" if type_ == 'pg_catalog."varchar"' else type_


def _mark(column: VectorColumn) -> str:
    digest = hashlib.sha256(f"{len(column.prefix)} {column.prefix}{column.text}".encode())
    return f"azpg: the text of a row; SHA-256 of its expression and prefix: {digest.hexdigest()}"


def judge(connection: Connection, column: VectorColumn, kind: str, oid: int, *, strict: bool = True) -> None:
    """Raises `ApplyFailed` for what an object of a text may not depend on: see dependencies.sql.

    Args:
        connection: in any transaction.
        column: the column.
        kind: of the object: ``pg_catalog.pg_proc`` or ``pg_catalog.pg_attrdef``.
        oid: its number.
        strict: whether its functions may not look names up when they run.
    """
    first = sql.SQL(_DEPENDED_ON).format(class_=sql.Literal(kind), object_=sql.Literal(oid))
    _judge(connection, column, first, strict=strict)


def _judge_literals(connection: Connection, column: VectorColumn, *, strict: bool) -> str:
    """Raises `ApplyFailed` as `judge` for the types of a text's string literals, before any of them is read.

    PostgreSQL reads them while it parses the text, and computes the conditions of domains in their types.
    Returns the text with those types in it, so that nobody who may create in a schema of its names can have
    one read as another by then.
    """

    def prepare(statement: sql.Composed) -> None:
        acting.command(connection, column, named(column, statement))

    found = typed(connection, column.relation, column.text, prepare)
    if found is None:
        raise ApplyFailed(
            f"the text of {column.name} has a string whose type cannot be told before PostgreSQL reads it: "
            "write CAST('…' AS the type) in its place."
        )
    if found.types:
        _judge(connection, column, sql.SQL(_OF_TYPES).format(types=sql.Literal(found.types)), strict=strict)
    return found.text


def _judge(connection: Connection, column: VectorColumn, first: sql.Composed, *, strict: bool) -> None:
    found = dependencies.judged(connection, first, column.relation, strict=strict)
    if why := dependencies.wrong_text(connection, column.name, found):
        raise ApplyFailed(f"{why}.")


def _commented(connection: Connection, signature: sql.Composed, comment: str) -> int:
    """The number of a function that gets a comment."""
    statement = sql.SQL("COMMENT ON FUNCTION {} IS {}; SELECT {}::pg_catalog.regprocedure::pg_catalog.oid")
    cursor = connection.execute(
        statement.format(signature, sql.Literal(comment), sql.Literal(signature.as_string(connection)))
    )
    cursor.nextset()
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def needs_text(column: VectorColumn) -> bool:
    """Whether a column has such a function: PostgreSQL keeps the text of a generated one by itself."""
    return column.sync is not Sync.GENERATED
