"""The tables of one column in the ledger: `azpg.state_N` and `azpg.queue_N`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import errors, sql

from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger.access import close, closing
from azpg_provision.live.trust import trusted
from azpg_provision.live.values import listed
from azpg_provision.target.target import Connection

# A key's collation must be the table's own: PostgreSQL compares no two texts of different collations.
_KEYS = """
SELECT attribute.attname, pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
       schema.nspname, collation_.collname
FROM pg_catalog.pg_attribute AS attribute
JOIN pg_catalog.pg_type AS type ON type.oid = attribute.atttypid
LEFT JOIN pg_catalog.pg_collation AS collation_
       ON collation_.oid = attribute.attcollation AND attribute.attcollation <> type.typcollation
LEFT JOIN pg_catalog.pg_namespace AS schema ON schema.oid = collation_.collnamespace
WHERE attribute.attrelid = %s::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
"""
_STATE = """
CREATE TABLE {table} (
    {keys},
    hash bytea NOT NULL,
    failure text,
    sqlstate text,
    attempts integer NOT NULL DEFAULT 1,
    at timestamptz NOT NULL DEFAULT now(),
    vector bytea,
    PRIMARY KEY ({names})
)
"""
_QUEUE = """
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    {keys},
    since timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now()
)
"""

# Of columns: whether both tables are there, the table's owner's and nobody else's to use; whether something
# about them is strange; and the columns of all three.
_LOOK = """
SELECT wanted.id, ({owned}), EXISTS ({strange}), ({columns})
FROM (VALUES {wanted}) AS wanted (id, relation, keys)
"""
_OWNED = """
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 2
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_class AS relation
  ON relation.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
 AND relation.relname OPERATOR(pg_catalog.=) ANY (ARRAY[
         pg_catalog.concat('state_', wanted.id), pg_catalog.concat('queue_', wanted.id)]::pg_catalog.name[])
WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
  AND relation.relkind OPERATOR(pg_catalog.=) 'r'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS trigger
                  WHERE trigger.tgrelid OPERATOR(pg_catalog.=) relation.oid)
  AND NOT relation.relhasrules AND NOT relation.relrowsecurity
  AND relation.relowner OPERATOR(pg_catalog.=) class.relowner
  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(relation.relacl) AS acl
                  WHERE acl.grantee OPERATOR(pg_catalog.<>) relation.relowner)
"""
# Relations of others' making, and what of ours runs or keeps something that we did not make. An index
# answers each look (an aggregate is never hashed, as EXISTS is); what a foreign key points to has a trigger.
_STRANGE = """
SELECT
FROM (
    SELECT pg_catalog.to_regclass(pg_catalog.concat('azpg.state_', wanted.id)),
           pg_catalog.to_regclass(pg_catalog.concat('azpg.queue_', wanted.id)),
           pg_catalog.to_regclass(pg_catalog.concat('azpg.queue_', wanted.id, '_id_seq'))
) AS own (state, queue, sequence)
JOIN pg_catalog.pg_class AS relation
  ON relation.oid OPERATOR(pg_catalog.=) ANY (ARRAY[own.state, own.queue]::pg_catalog.oid[])
WHERE (relation.relkind OPERATOR(pg_catalog.<>) 'r' OR relation.relpersistence OPERATOR(pg_catalog.<>) 'p'
       OR relation.relhasrules OR relation.relrowsecurity OR relation.relforcerowsecurity
       OR relation.reloftype OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
       OR relation.relreplident OPERATOR(pg_catalog.<>) 'd'
       OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS published
                  WHERE published.prrelid OPERATOR(pg_catalog.=) relation.oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
                  WHERE attribute.attrelid OPERATOR(pg_catalog.=) relation.oid
                    AND attribute.attacl IS NOT NULL)
       OR (SELECT pg_catalog.array_agg(
                      index.indisprimary AND index.indisvalid AND index.indimmediate
                      AND CASE WHEN relation.oid OPERATOR(pg_catalog.=) own.queue
                               THEN ARRAY['id'] ELSE wanted.keys::pg_catalog.text[] END
                          OPERATOR(pg_catalog.=) ARRAY(
                              SELECT attribute.attname::pg_catalog.text
                              FROM pg_catalog.unnest(index.indkey) WITH ORDINALITY AS key (number, position)
                              JOIN pg_catalog.pg_attribute AS attribute
                                ON attribute.attrelid OPERATOR(pg_catalog.=) relation.oid
                               AND attribute.attnum OPERATOR(pg_catalog.=) key.number
                              ORDER BY key.position))
           FROM pg_catalog.pg_index AS index
           WHERE index.indrelid OPERATOR(pg_catalog.=) relation.oid) IS DISTINCT FROM ARRAY[true]
       OR NOT EXISTS (SELECT FROM pg_catalog.pg_sequence AS sequence
                      WHERE sequence.seqrelid OPERATOR(pg_catalog.=) own.sequence
                        AND sequence.seqtypid OPERATOR(pg_catalog.=) 'pg_catalog.int8'::pg_catalog.regtype
                        AND sequence.seqincrement OPERATOR(pg_catalog.=) 1
                        AND sequence.seqmin OPERATOR(pg_catalog.=) 1
                        AND sequence.seqmax OPERATOR(pg_catalog.=) 9223372036854775807
                        AND sequence.seqcache OPERATOR(pg_catalog.=) 1
                        AND NOT sequence.seqcycle
                        AND CASE WHEN pg_catalog.has_sequence_privilege(sequence.seqrelid, 'SELECT, USAGE')
                                 THEN coalesce(pg_catalog.pg_sequence_last_value(sequence.seqrelid), 1)
                                 ELSE 1 END OPERATOR(pg_catalog.<) {most}::pg_catalog.int8)
       OR EXISTS (SELECT FROM pg_catalog.pg_trigger AS trigger
                  WHERE trigger.tgrelid OPERATOR(pg_catalog.=) relation.oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_policy AS policy
                  WHERE policy.polrelid OPERATOR(pg_catalog.=) relation.oid)
       OR relation.relhassubclass
       OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS heir
                  WHERE heir.inhrelid OPERATOR(pg_catalog.=) relation.oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext AS statistics
                  WHERE statistics.stxrelid OPERATOR(pg_catalog.=) relation.oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS condition
                  WHERE condition.conrelid OPERATOR(pg_catalog.=) relation.oid
                    AND condition.contype OPERATOR(pg_catalog.<>) ALL (ARRAY['p', 'n']::pg_catalog."char"[])))
"""
_TRIGGERS = """
SELECT trigger.tgname::pg_catalog.text, relation.relname::pg_catalog.text
FROM pg_catalog.pg_trigger AS trigger
JOIN pg_catalog.pg_class AS relation ON relation.oid OPERATOR(pg_catalog.=) trigger.tgrelid
WHERE relation.oid OPERATOR(pg_catalog.=) ANY (ARRAY[pg_catalog.to_regclass(%(state)s),
                                                     pg_catalog.to_regclass(%(queue)s)]::pg_catalog.oid[])
  AND NOT trigger.tgisinternal
"""
_COLUMNS = """
SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
           part.position, attribute.attname,
           pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
           attribute.attcollation::pg_catalog.int8, attribute.attnotnull,
           attribute.attidentity::pg_catalog.text, attribute.attgenerated::pg_catalog.text,
           pg_catalog.pg_get_expr(default_.adbin, default_.adrelid)))
FROM (
    VALUES (0, wanted.relation), (1, pg_catalog.concat('azpg.state_', wanted.id)),
           (2, pg_catalog.concat('azpg.queue_', wanted.id))
) AS part (position, name)
JOIN pg_catalog.pg_attribute AS attribute
  ON attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(part.name)
LEFT JOIN pg_catalog.pg_attrdef AS default_
       ON default_.adrelid OPERATOR(pg_catalog.=) attribute.attrelid
      AND default_.adnum OPERATOR(pg_catalog.=) attribute.attnum
WHERE attribute.attnum OPERATOR(pg_catalog.>) 0 AND NOT attribute.attisdropped
"""
# A role that was the table's owner, and may have written into them what it liked.
_FORMER = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class AS class
    CROSS JOIN LATERAL (
        SELECT relation.relowner FROM pg_catalog.pg_class AS relation
        WHERE relation.relnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
          AND relation.relname OPERATOR(pg_catalog.=) ANY (%(tables)s::pg_catalog.name[])
        UNION
        SELECT function.proowner FROM pg_catalog.pg_proc AS function
        WHERE function.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
          AND function.proname OPERATOR(pg_catalog.=) ANY (%(functions)s::pg_catalog.name[])
    ) AS made (owner)
    JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) made.owner
    WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%(relation)s)
      AND made.owner OPERATOR(pg_catalog.<>) class.relowner AND NOT {trusted})
"""
_FUNCTIONS = """
SELECT pg_catalog.concat('azpg.', pg_catalog.quote_ident(proname),
                         '(', pg_catalog.pg_get_function_identity_arguments(oid), ')')
FROM pg_catalog.pg_proc
WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('azpg')
  AND proname OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.name[]) ORDER BY 1
"""
_MISTAKES = "42"
"""The class of SQLSTATEs for what is not there, is something else, or is not this role's to change."""
_MOST_NUMBERS = 2**62
"""Of changes that a queue has had. Nobody makes as many, but for a role that sets the last one."""
_DEFAULT_COLLATION = 100
"""PostgreSQL's number of the collation that a column of type text has."""
_Columns = dict[str, tuple[Any, ...]]
"""The columns of a table by name: type, collation, whether it is NOT NULL, identity, generated, default."""
FUNCTIONS = ("embed", "note", "enqueue", "clear", "text", "act")
"""What a column's functions are called, before its number."""


def made_for(column_id: int) -> list[str]:
    """Name all that a column has in schema azpg: functions and relations."""
    relations = [f"state_{column_id}", f"queue_{column_id}", f"queue_{column_id}_id_seq"]
    return [*(f"{name}_{column_id}" for name in FUNCTIONS), *relations]


def make(connection: Connection, column: VectorColumn) -> None:
    """Makes both, empty. Raises `LedgerMismatch` if a key column is gone from the table."""
    relation = column.relation.as_string(connection)
    found = {row[0]: row[1:] for row in connection.execute(_KEYS, [relation]).fetchall()}
    definitions = []
    for own, key in zip(column.own_keys, column.keys, strict=True):
        if key.name not in found:
            raise LedgerMismatch(
                f"{relation} has no column {key.name!r}, which is of its key: run `azpg plan` again."
            )
        type_, schema, collation = found[key.name]
        # format_type quotes what has to be quoted.
        definition = sql.SQL("{} {}").format(own, sql.SQL(type_))
        if collation is not None:
            definition += sql.SQL(" COLLATE {}").format(sql.Identifier(schema, collation))
        definitions.append(definition)
    keys, names = sql.SQL(", ").join(definitions), sql.SQL(", ").join(column.own_keys)
    state, queue = (
        sql.SQL(statement).format(table=table, keys=keys, names=names)
        for statement, table in ((_STATE, column.state), (_QUEUE, column.queue))
    )
    connection.execute(sql.SQL("{}; {}; {}").format(state, queue, closing("TABLE", *_tables(column))))


def _tables(column: VectorColumn) -> list[sql.Identifier]:
    """Both, and the sequence of the one."""
    return [column.state, column.queue, sql.Identifier("azpg", f"queue_{column.id}_id_seq")]


def former(connection: Connection, column: VectorColumn) -> bool:
    """Whether what belongs to a column is another role's than its table and no admin's: a former owner's."""
    names = {
        "tables": [f"state_{column.id}", f"queue_{column.id}"],
        "functions": [f"{name}_{column.id}" for name in FUNCTIONS],
        "relation": column.relation.as_string(connection),
    }
    query = sql.SQL(_FORMER).format(trusted=trusted("owner"))
    return connection.execute(query, names).fetchone() == (True,)


def carry(connection: Connection, column: VectorColumn, *, anew: bool) -> None:
    """Brings both to the present version of the ledger, with all that they hold.

    Triggers on them are dropped. With `anew`, or where anything else hangs there that would run with the
    rights of the table's owner, who may be another role by now than the one who hung it there, they are made
    anew, and empty: all rows are embedded once more.
    """
    kept = not anew
    if kept:
        try:
            with connection.transaction():
                lock = sql.SQL("LOCK TABLE ONLY {}, ONLY {} IN ACCESS EXCLUSIVE MODE")
                connection.execute(lock.format(column.state, column.queue))
                for trigger, table in connection.execute(_TRIGGERS, _names(column)).fetchall():
                    statement = sql.SQL("DROP TRIGGER {} ON {}")
                    name = sql.Identifier("azpg", table)
                    connection.execute(statement.format(sql.Identifier(trigger), name))
                add = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS vector bytea")
                connection.execute(add.format(column.state))
                _, kept = _looked(connection, [column])[column.id]
        except errors.Error as error:
            if not (error.sqlstate or "").startswith(_MISTAKES):
                raise
            kept = False  # such as for a view in the place of one, or a role as which this one cannot act
    if not kept:
        drop(connection, column.id)
        make(connection, column)
    close(connection, "TABLE", *_tables(column))


def _looked(connection: Connection, columns: Sequence[VectorColumn]) -> dict[int, tuple[bool, bool]]:
    """Whether both of each are the table's owner's alone, and whether they are as `make` makes them."""
    wanted = listed(
        [one.id, one.relation.as_string(connection), [f"key_{n}" for n, _ in enumerate(one.keys, 1)]]
        for one in columns
    )
    query = sql.SQL(_LOOK).format(
        owned=sql.SQL(_OWNED).format(),
        strange=sql.SQL(_STRANGE).format(most=sql.Literal(_MOST_NUMBERS)),
        columns=sql.SQL(_COLUMNS).format(),
        wanted=wanted,
    )
    of = {one.id: one for one in columns}
    found = {}
    for number, owned, strange, properties in connection.execute(query).fetchall():
        parts: list[_Columns] = [{}, {}, {}]
        for position, name, *rest in properties or ():
            parts[position][name] = tuple(rest)
        found[number] = (owned, not strange and _alike(of[number], *parts))
    return found


def _alike(column: VectorColumn, table: _Columns, state: _Columns, queue: _Columns) -> bool:
    """Whether both have the columns that they are made with, for those of the table."""
    if not all(key.name in table for key in column.keys):
        return False
    keys = {f"key_{number}": table[key.name][:2] for number, key in enumerate(column.keys, 1)}
    text, bytes_ = ("text", _DEFAULT_COLLATION, False, "", "", None), ("bytea", 0, False, "", "", None)
    now = ("timestamp with time zone", 0, True, "", "", "now()")
    known = {
        "hash": ("bytea", 0, True, "", "", None),
        "failure": text,
        "sqlstate": text,
        "attempts": ("integer", 0, True, "", "", "1"),
        "at": now,
        "vector": bytes_,
    }
    waits = {"id": ("bigint", 0, True, "a", "", None), "since": now, "not_before": now}
    of_state = {name: (*type_, True, "", "", None) for name, type_ in keys.items()} | known
    of_queue = {name: (*type_, False, "", "", None) for name, type_ in keys.items()} | waits
    return state == of_state and queue == of_queue


def _names(column: VectorColumn) -> dict[str, str]:
    number = column.id
    return {
        "state": f"azpg.state_{number}",
        "queue": f"azpg.queue_{number}",
    }


def carried(connection: Connection, columns: Sequence[VectorColumn]) -> set[int]:
    """The numbers of those whose both are as `make` makes them now, and nobody's but the table's owner's."""
    if not columns:
        return set()
    found = _looked(connection, columns)
    return {number for number, (owned, as_made) in found.items() if owned and as_made}


def drop(connection: Connection, column_id: int) -> None:
    """Drops both of the column with this id."""
    connection.execute(dropping(column_id))


def dropping(column_id: int) -> sql.Composed:
    """A statement that does."""
    names = [sql.Identifier("azpg", f"{name}_{column_id}") for name in ("state", "queue")]
    return sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.SQL(", ").join(names))


def disarm(connection: Connection, column_id: int) -> None:
    """Drops the functions of the column with this id, and their triggers with them."""
    names = [f"{name}_{column_id}" for name in FUNCTIONS]
    for (function,) in connection.execute(_FUNCTIONS, [names]).fetchall():
        connection.execute(sql.SQL("DROP FUNCTION {} CASCADE").format(sql.SQL(function)))
