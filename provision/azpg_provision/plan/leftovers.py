"""What azpg made that a spec no longer names."""

from __future__ import annotations

from azpg_provision.column import VectorColumn
from azpg_provision.plan.change import Action, Kind
from azpg_provision.plan.plan import Draft
from azpg_provision.plan.state import DatabaseState
from azpg_provision.plan.wanted import index_of, serves
from azpg_provision.spec.identifier import qualified, quoted
from azpg_provision.spec.model import Database, Embedding

_ARMED = {"trigger", "queue"}


def note_leftovers(database: Database, found: DatabaseState, draft: Draft) -> None:
    """Notes what azpg made that the spec does not name; what would stop writers is a change."""
    named = {(table.schema_, table.name, embedding.column) for table, embedding in database.embeddings()}
    for place, was in found.left.items():
        if place not in named:  # a column that is made or taken anew has its own triggers in their place
            draft.add(
                Action.UPDATE,
                Kind.SYNC,
                qualified(*place),
                database=database.name,
                before=was,
                after="none",
                note="the column is gone, and its triggers stop every writer"
                if was in _ARMED
                else "the column is gone",
            )
    for place in sorted(found.columns.keys() - named):
        draft.notes.append(
            f"{qualified(*place)} in {quoted(database.name)} is vectorized and not in the spec; "
            "it stays, and so does its sync."
        )
    for table, embedding in database.embeddings():
        place = (table.schema_, table.name, embedding.column)
        if place in found.columns:
            _note_indexes(found.columns[place], embedding, found, database.name, draft)


def _note_indexes(
    column: VectorColumn, embedding: Embedding, found: DatabaseState, database: str, draft: Draft
) -> None:
    wanted = None if embedding.index is None else index_of(embedding.index)
    for name, there in found.indexes.get((column.schema, column.table, column.column), {}).items():
        # One by the wanted one's name is replaced.
        if wanted is not None and (serves(there, wanted) or name == wanted.name(column)):
            continue
        full = qualified(column.schema, name)
        if ("index", full) in found.owned:
            draft.notes.append(
                f"the index {full} in {quoted(database)} is azpg's and not in the spec; it stays: "
                "DROP INDEX, if nothing needs it."
            )
