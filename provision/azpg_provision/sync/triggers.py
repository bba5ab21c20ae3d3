"""The triggers and trigger functions of a column, as data: what is made, and what must be found again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.sync.acting import Hands
from azpg_provision.sync.session import WORKER, template

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
"""The bits of pg_trigger.tgtype."""
_EVENTS = {_INSERT: "INSERT", _UPDATE: "UPDATE", _DELETE: "DELETE", _TRUNCATE: "TRUNCATE"}
OLD, NEW = "azpg_old", "azpg_new"
"""The names of transition tables."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a table.

    Attributes:
        name: of the trigger.
        kind: its bits in pg_trigger.tgtype.
        function: what it calls, in schema azpg.
        old, new: whether it sees all rows of the statement as they were, and as they are.
        by_worker: whether it is fired by a worker's writes, too.
        after: the trigger whose doings it notes: only if that is the last one before a row is written.
    """

    name: str
    kind: int
    function: str
    old: bool = False
    new: bool = False
    by_worker: bool = False
    after: str | None = None

    def creation(self, column: VectorColumn, hands: Hands) -> sql.Composed:
        """The statement that makes it; `hands` as of `when`."""
        events = [sql.SQL(word) for bit, word in _EVENTS.items() if self.kind & bit]
        tables = [
            sql.SQL("{} TABLE AS {}").format(sql.SQL(word), sql.Identifier(name))
            for word, name, wanted in (("OLD", OLD, self.old), ("NEW", NEW, self.new))
            if wanted
        ]
        return sql.SQL("CREATE TRIGGER {} {} {} ON {} {} FOR EACH {} WHEN ({}) EXECUTE FUNCTION {}()").format(
            sql.Identifier(self.name),
            sql.SQL("BEFORE" if self.kind & _BEFORE else "AFTER"),
            sql.SQL(" OR ").join(events),
            column.relation,
            sql.SQL("REFERENCING {}").format(sql.SQL(" ").join(tables)) if tables else sql.SQL(""),
            sql.SQL("ROW" if self.kind & _ROW else "STATEMENT"),
            sql.SQL(self.when(column, hands)).format(
                relation=sql.Literal(column.relation.as_string()),
                function=sql.Literal(sql.Identifier("azpg", self.function).as_string() + "()"),
            ),
            sql.Identifier("azpg", self.function),
        )

    def when(self, column: VectorColumn, hands: Hands) -> str:
        """Its condition as PostgreSQL prints it, with {relation} and {function} for the literals of both.

        Of the table's triggers, one says where it is not met: azpg_provision/ledger/in_hand.sql,
        as_applied.sql and is_last.sql, and types_in_hand.sql and names_in_hand.sql for keys of types that may
        change hands, or their names.
        """
        quiet = "true" if self.by_worker or self.kind & _DELETE else "false"
        in_hand = f"azpg.in_hand({{relation}}::regclass, {{function}}::regprocedure, {quiet})"
        in_hand += f" AND azpg.as_applied({{relation}}::regclass, {column.id}, {quiet})"
        if self.by_worker:
            return f"({in_hand})"
        if self.after is not None:
            in_hand += f" AND azpg.is_last({{relation}}::regclass, '{self.after}'::name, false)"
        if hands.types:
            in_hand += f" AND azpg.types_in_hand({{relation}}::regclass, {column.id}, {quiet})"
            names = f"{column.id}, '{_names(column)}'::text"
            in_hand += f" AND azpg.names_in_hand({{relation}}::regclass, {names}, {quiet})"
        return f"({in_hand} AND {_unless_worker(column, hands.owner)})"


def _names(column: VectorColumn) -> str:
    """What azpg.names_in_hand makes of the names by which keys are compared."""
    return hashlib.sha256(column.compared_by.encode()).hexdigest()


def _unless_worker(column: VectorColumn, owner: int) -> str:
    """The condition of triggers that leave a worker's writes alone, as PostgreSQL prints it.

    Not those of triggers of the user's own that they fire. A worker says the column's secret, which is in
    azpg.columns only; what everybody can read here is its SHA-256, from which nobody finds the secret. Whom
    else it becomes known to, such as what the owner's triggers call, it is of use to the owner only: a worker
    writes as that role, whose id `owner` is.
    """
    said = f"current_setting('{WORKER}'::text, true)"
    digest = hashlib.sha256(column.secret.encode()).hexdigest()
    return (
        f"(({said} IS NULL) OR (sha256(convert_to({said}, 'UTF8'::name)) <> '\\x{digest}'::bytea)"
        f" OR (pg_trigger_depth() > 0) OR (CURRENT_USER <> pg_get_userbyid('{owner}'::oid)))"
    )


def triggers(column: VectorColumn) -> list[Trigger]:
    """Those that keep a column in step with its rows, by its `sync`; none where nothing has to be kept."""
    one = column.id
    clear = Trigger(f"azpg_{one}_clear", _TRUNCATE, f"clear_{one}", by_worker=True)
    if column.sync is Sync.TRIGGER:
        embed = f"zzz_azpg_{one}_embed"
        return [
            # Triggers are fired by name: this one sees what all others made of the row.
            Trigger(embed, _ROW | _BEFORE | _INSERT | _UPDATE, f"embed_{one}"),
            # And this one before those that may write the row once more, which is then noted after it.
            Trigger(f"aaa_azpg_{one}_note", _ROW | _INSERT | _UPDATE | _DELETE, f"note_{one}", after=embed),
            clear,
        ]
    if column.sync is Sync.QUEUE:
        return [
            Trigger(f"azpg_{one}_insert", _INSERT, f"enqueue_{one}", new=True),
            Trigger(f"azpg_{one}_update", _UPDATE, f"enqueue_{one}", old=True, new=True),
            Trigger(f"azpg_{one}_delete", _DELETE, f"enqueue_{one}", old=True),
            clear,
        ]
    return []


def body(column: VectorColumn, function: str, *, volatile: bool = False) -> sql.Composed:
    """The PL/pgSQL of a trigger function, from the file that it is named after.

    Args:
        column: the column.
        function: its name.
        volatile: whether the text is made of more than its row (`azpg_provision.sync.volatility`), so that
            the vector of a row is known only after it was seen to be that of the text.
    """
    table = sql.Identifier(column.table)
    column_name = sql.Identifier(column.column)
    names = [sql.Identifier(key.name) for key in column.keys]
    old, new = ([sql.SQL("{}.{}").format(sql.SQL(row), name) for name in names] for row in ("OLD", "NEW"))
    in_table = [sql.SQL("{}.{}").format(table, name) for name in names]
    state, changed = (
        [sql.SQL("{}.{}").format(sql.SQL(scope), own) for own in column.own_keys]
        for scope in ("azpg_state", "changed")
    )
    same_key = _equal(column, new, old)  # of columns that are never NULL
    same_vector = sql.SQL("NEW.{}::real[] IS NOT DISTINCT FROM OLD.{}::real[]").format(
        column_name, column_name
    )
    model, timeout = sql.Literal(column.model), sql.Literal(1000 * column.timeout)
    return template(function.rsplit("_", 1)[0]).format(
        verified=template("verify").format(
            column=column_name, model=model, timeout=timeout, volatile=sql.Literal(volatile)
        ),
        new_text=column.text_in(sql.SQL("NEW")),
        old_text=column.text_in(sql.SQL("OLD")),
        text=column.text_in(table),
        relation=column.relation,
        # Always true. It names the table, without a right to it or a lock, so that a session that has the
        # statement planned plans it anew when a column of the table gets another type.
        known=sql.SQL("{}::pg_catalog.regclass IS NOT NULL").format(sql.Literal(column.relation.as_string())),
        table=table,
        column=column_name,
        model=model,
        timeout=timeout,
        name=sql.Literal(column.name),
        # Whatever a writer's session takes a backslash for.
        fingerprint=sql.SQL("pg_catalog.decode({}, 'hex')").format(sql.Literal(column.fingerprint.hex())),
        state=column.state,
        queue=column.queue,
        own=_listed(column.own_keys),
        new=_listed(new),
        keys=_listed(in_table),
        named=_listed(
            [sql.SQL("{} AS {}").format(one, own) for one, own in zip(in_table, column.own_keys, strict=True)]
        ),
        vector=sql.SQL("pg_catalog.hash_array_extended(({}.{})::real[], azpg_seed)").format(
            table, column_name
        ),
        seen=vector_hash(sql.SQL("NEW.{}").format(column_name)),
        same_key=same_key,
        same=sql.SQL("({} AND {})").format(same_key, same_vector),
        # By the bytes of the columns: no operator of anybody's.
        untouched=sql.SQL(
            "ROW({})::pg_catalog.record OPERATOR(pg_catalog.*=) ROW({})::pg_catalog.record AND {} AND {}"
        ).format(
            _listed([sql.SQL("NEW.{}").format(sql.Identifier(one)) for one in column.text_columns]),
            _listed([sql.SQL("OLD.{}").format(sql.Identifier(one)) for one in column.text_columns]),
            same_key,
            same_vector,
        )
        if column.text_columns
        else sql.SQL("false"),
        state_is_old=_equal(column, column.own_keys, old),
        state_is_new=_equal(column, column.own_keys, new),
        state_is_table=_equal(column, state, in_table),
        state_is_changed=_equal(column, state, changed),
        table_is_old=_equal(column, in_table, old),
        table_is_state=_equal(column, in_table, state),
    )


def vector_hash(vector: sql.Composable) -> sql.Composed:
    """The hash by which azpg knows a vector again, NULL of none: azpg.state_N.vector."""
    return sql.SQL("pg_catalog.sha256(pg_catalog.array_send(({})::real[]))").format(vector)


def _listed(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _equal(
    column: VectorColumn, lefts: Sequence[sql.Composable], rights: Sequence[sql.Composable]
) -> sql.Composed:
    pairs = zip(column.keys, lefts, rights, strict=True)
    return sql.SQL(" AND ").join(key.compare("=", left, right) for key, left, right in pairs)
