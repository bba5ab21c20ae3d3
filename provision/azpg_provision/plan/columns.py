"""What a plan changes about the vectorized columns of a table: the column, its sync, its rows, its index."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from azpg_provision import ledger
from azpg_provision.column import Key, Sync, fingerprint_of
from azpg_provision.live.model import LiveColumn, LiveTable
from azpg_provision.plan.change import Action, Kind
from azpg_provision.plan.database import pending_init
from azpg_provision.plan.leftovers import note_leftovers
from azpg_provision.plan.plan import Draft
from azpg_provision.plan.state import DatabaseState, State
from azpg_provision.plan.wanted import (
    dimensions_of,
    index_name,
    index_of,
    key_of,
    serves,
    wrong,
    wrong_dimensions,
    wrong_text,
)
from azpg_provision.spec.identifier import qualified, quoted
from azpg_provision.spec.model import Database, Embedding, Table
from azpg_provision.spec.values import TIMEOUT

_LATER = "unknown until the init files have run"


def plan_columns(
    database: Database, state: State, draft: Draft, written: Callable[..., str] = lambda *path: ""
) -> None:
    """Adds what is missing to `draft`; `written` says where a part of the tables is in the spec's file."""
    found = state.databases.get(database.name, DatabaseState())
    for number, table in enumerate(database.tables):
        live = found.live.tables.get((table.schema_, table.name))
        if live is None and not pending_init(database, found):
            why = written(number, "name") + _no_table(database, table, found)
            for embedding in table.embeddings:
                _refuse(draft, database, table, embedding, why)
            continue
        for embedding in table.embeddings:
            problems = [] if live is None else list(wrong(table, embedding, live))
            trouble = found.texts.get((table.schema_, table.name, embedding.column))
            if trouble is not None and not pending_init(database, found):
                problems.append(f"{table.full_name}: {wrong_text(embedding, trouble)}")
            for problem in problems:
                _refuse(draft, database, table, embedding, problem)
            if not problems:
                _Column(database, table, embedding, live, found, state, draft).plan()
    note_leftovers(database, found, draft)


def _refuse(draft: Draft, database: Database, table: Table, embedding: Embedding, why: str) -> None:
    name = qualified(table.schema_, table.name, embedding.column)
    draft.refuse(why, Kind.COLUMN, database=database.name, name=name)


def _no_table(database: Database, table: Table, found: DatabaseState) -> str:
    where = f"there is no table {table.full_name} in the database {quoted(database.name)}"
    names = {name if schema == "public" else f"{schema}.{name}" for schema, name in found.live.others}
    asked = table.name if table.schema_ == "public" else f"{table.schema_}.{table.name}"
    if near := get_close_matches(asked, sorted(names), n=1):
        return f"{where}: did you mean {near[0]}?"
    return f"{where}, and no init file that is still to run: make it, or name an init file that does"


class _Column:
    """The planning of one column."""

    def __init__(
        self,
        database: Database,
        table: Table,
        embedding: Embedding,
        live: LiveTable | None,
        found: DatabaseState,
        state: State,
        draft: Draft,
    ) -> None:
        self._database, self._embedding, self._found, self._draft = database.name, embedding, found, draft
        self._table, self._live, self._state = table, live, state
        self._place = (table.schema_, table.name, embedding.column)
        self.name = qualified(*self._place)
        self._model = (state.server.models or {}).get(embedding.model)
        self._old = found.columns.get(self._place)
        self._owned = ("column", self.name) in found.owned

    def plan(self) -> None:
        """Adds what is missing to the draft."""
        problem = "" if self._model is None else wrong_dimensions(self._embedding, self._model)
        problem = problem or self._found.owners.get((self._table.schema_, self._table.name), "")
        if problem:
            self._refuse(f"{self._table.full_name}: {problem}")
            return
        action, after = self._column()
        if action is None and after is None:
            return  # refused
        if action is not None:
            before = self._before()
            self._draft.add(
                action,
                Kind.COLUMN,
                self.name,
                database=self._database,
                before=before,
                after=after,
                note=self._note(action),
            )
        self._sync(changed=action is not None)
        self._rows(action)
        self._index(anew=action in {Action.CREATE, Action.REPLACE})

    def _refuse(self, why: str, kind: Kind = Kind.COLUMN) -> None:
        self._draft.refuse(why, kind, database=self._database, name=self.name)

    # The column

    def _column(self) -> tuple[Action | None, dict[str, Any] | None]:
        """What is done, None if it is as it should be, and what it will be; None if it is refused."""
        after = self._after()
        live = self._live.columns.get(self._embedding.column) if self._live is not None else None
        if live is None:
            return Action.CREATE, after
        generated = self._embedding.sync == "generated"
        if (
            not self._fits(live, after["type"])
            or live.generated is not generated
            or (generated and self._rewritten(live))
        ):
            if self._owned:
                return Action.REPLACE, after
            self._refuse(self._foreign(live, after["type"], generated=generated))
            return None, None
        if self._old is None:
            return Action.UPDATE, after
        return (None if self._before() == after else Action.UPDATE), after

    def _fits(self, live: LiveColumn, type_: str) -> bool:
        return live.type == type_ if type_ != "vector" else live.type.startswith("vector(")

    def _rewritten(self, live: LiveColumn) -> bool:
        """Whether a generated column is generated of something else."""
        made = self._found.owned.get(("column", self.name), {}).get("generated")
        if made is not None and made != live.expression:  # ALTER COLUMN … SET EXPRESSION
            return True
        if self._old is None or self._model is None:
            return False
        old, new = self._old, self._embedding
        same = (old.text, old.model, old.prefix) == (new.text, new.model, new.prefix)
        return not same or old.fingerprint != fingerprint_of(self._model)

    def _foreign(self, live: LiveColumn, type_: str, *, generated: bool) -> str:
        has = f"{live.type}{', generated' if live.generated else ''}"
        wants = f"{type_}{', generated' if generated else ''}"
        return (
            f"{self.name} is {has}, and is to be {wants}; azpg did not make it and leaves it alone: use "
            "another column, or drop it"
        )

    def _after(self) -> dict[str, Any]:
        """What the column will be, as JSON; None stands for what is not known before other changes."""
        embedding, model = self._embedding, self._model
        dimensions = dimensions_of(embedding, model)
        keys = None if self._live is None else key_of(self._table, self._live)
        return {
            "type": f"vector({dimensions})" if dimensions else "vector",
            "text": embedding.text,
            "prefix": embedding.prefix,
            "model": embedding.model,
            "fingerprint": None if model is None else fingerprint_of(model).hex(),
            "sync": embedding.sync,
            "key": None if keys is None else self._key(keys, () if self._old is None else self._old.keys),
        } | ({} if embedding.timeout == TIMEOUT else {"timeout": embedding.timeout})

    def _before(self) -> dict[str, Any] | None:
        live = self._live.columns.get(self._embedding.column) if self._live is not None else None
        if live is None or self._live is None:
            return None
        if self._old is None:
            return {"type": live.type}
        kept = ledger.definition(self._old)
        return {
            "type": live.type,
            **{name: kept[name] for name in ("text", "prefix", "model", "fingerprint", "sync")},
            "key": self._key(self._old.keys, key_of(self._table, self._live) or ()),
        } | ({"timeout": kept["timeout"]} if "timeout" in kept else {})

    @staticmethod
    def _key(keys: tuple[Key, ...], other: tuple[Key, ...]) -> list[str]:
        """The key's columns; with their types where only those have changed, such as integer to bigint."""
        names = [key.name for key in keys]
        typed = keys != other and names == [key.name for key in other]
        return [f"{key.name} {key.type}" for key in keys] if typed else names

    def _note(self, action: Action) -> str:
        if action is Action.REPLACE:
            lost = "drops the vectors that there are; needs --allow-replace"
            return f"{lost}; {self._rewrite()}" if self._embedding.sync == "generated" else lost
        if action is Action.CREATE and self._embedding.sync == "generated":
            return self._rewrite()
        if action is Action.UPDATE and self._old is None:
            return "exists already and is taken as it is"
        return ""

    def _rewrite(self) -> str:
        if self._live is None:
            return f"rewrites the table under an exclusive lock, not resumable; rows and time: {_LATER}"
        rows, rate = self._live.rows, self._found.rates.get(self._place)
        note = f"rewrites about {counted(rows)} under an exclusive lock, not resumable"
        if rate is None:
            return (
                f"{note}; for how long is known when azure_local_ai is there" if self._model is None else note
            )
        return f"{note}, about {duration(rows / rate)} at the {rate:.0f} rows/s of a sample"

    # What follows

    def _sync(self, *, changed: bool) -> None:
        sync, old = self._embedding.sync, self._old
        if sync == "generated" and (changed or self._place in self._found.in_step):
            return  # the triggers of before go with the column of before
        # An apply that ended between the ledger and the triggers has left those of before.
        if sync == "none" and (
            old is None or (old.sync.value == sync and self._place in self._found.in_step)
        ):
            return
        if not changed and self._place in self._found.in_step:
            return
        before = None if old is None else old.sync.value
        self._draft.add(
            Action.CREATE if before is None else Action.UPDATE,
            Kind.SYNC,
            self.name,
            database=self._database,
            before=before,
            after=sync,
            note="" if changed else self._sync_note(),
        )

    def _sync_note(self) -> str:
        if self._found.version not in {None, ledger.VERSION}:
            return "made by an earlier azpg, and made anew; nothing is embedded anew"
        return "its triggers are not as azpg made them"

    def _rows(self, action: Action | None) -> None:
        if self._embedding.sync == "generated":
            return
        pending = self._found.pending.get(self._place, 0)
        stays = action is None or (action is Action.UPDATE and self._same_text())
        if stays and pending == 0:
            return
        if stays and pending is not None:
            note = counted(pending)
        else:
            rows = self._live.rows if self._live is not None else None
            note = f"rows: {_LATER}" if rows is None else f"about {counted(rows)}"
        self._draft.add(
            Action.UPDATE, Kind.ROWS, self.name, database=self._database, after={"pending": 0}, note=note
        )

    def _same_text(self) -> bool:
        """Whether the embeddings that there are stay right, and only rows that wait get one."""
        before, after = self._before() or {}, self._after()
        same = all(before.get(one) == after[one] for one in ("text", "prefix", "model", "fingerprint", "key"))
        return same and self._old is not None and self._old.sync is not Sync.GENERATED

    def _index(self, *, anew: bool) -> None:
        wanted = self._embedding.index
        if wanted is None:
            return
        if wanted.method == "diskann" and "pg_diskann" not in self._state.server.available:
            self._refuse(
                f"{self.name}: {self._state.server.name} has no pg_diskann, which diskann needs and only "
                "Azure has: use hnsw",
                Kind.INDEX,
            )
            return
        there = {} if anew else self._found.indexes.get(self._place, {})
        index = index_of(wanted)
        if any(serves(one, index) for one in there.values()):
            return
        after = {"method": wanted.method, "opclass": wanted.opclass, "parameters": wanted.parameters}
        named = None if self._old is None else there.get(index.name(self._old))
        own = self._old is not None and ("index", index_name(self._old, index)) in self._found.owned
        if named is not None and not own:
            self._refuse(
                f"{self.name} has another index by the name that azpg would give its own: rename that",
                Kind.INDEX,
            )
            return
        before = (
            None
            if named is None
            else {
                "method": named.method.value,
                "opclass": named.opclass,
                "parameters": dict(named.parameters),
            }
        )
        action = Action.CREATE if named is None else Action.REPLACE
        note = "" if named is None else "drops the index that there is; needs --allow-replace"
        self._draft.add(
            action, Kind.INDEX, self.name, database=self._database, before=before, after=after, note=note
        )


def counted(rows: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{rows} row{'' if rows == 1 else 's'}"


def duration(seconds: float) -> str:
    """``5 s``, ``40 min``, ``3 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.0f} h"
