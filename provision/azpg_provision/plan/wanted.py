"""What a spec asks of one table: whether that can be had there, and the column and index that it comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from azpg_provision.column import Key, Sync, VectorColumn, fingerprint_of
from azpg_provision.index.definition import Method, VectorIndex
from azpg_provision.live.model import LiveTable
from azpg_provision.spec.identifier import qualified, quoted
from azpg_provision.spec.model import Embedding, Index, Table

_KINDS = {
    "p": "is partitioned: vectorize a plain table",
    "v": "is a view: vectorize the tables that it shows",
    "m": "is a materialized view: vectorize the tables that it is made of",
    "f": "is a foreign table: vectorize it on the server where it is",
}


def without_own(live: LiveTable, numbers: Collection[int], kept: Collection[int]) -> LiveTable:
    """A table without the triggers that are azpg's: what is left in `later` is others', by whatever name.

    Args:
        live: the table.
        numbers: of its columns in the ledger, also of those that are gone.
        kept: of those that the spec names: a trigger by the name of theirs is compared as a whole, and made
            anew where it is another one (`azpg_provision.sync.installation`).
    """
    own = {(f"zzz_azpg_{number}_embed", f"embed_{number}") for number in numbers}
    compared = {f"zzz_azpg_{number}_embed" for number in kept}
    left = tuple(one for one in live.later if one not in own and one[0] not in compared)
    return replace(live, later=left)


def wrong(table: Table, embedding: Embedding, live: LiveTable) -> list[str]:
    """Why a table that there is cannot have this column, with what to do; `live` as of `without_own`."""
    name = table.full_name
    if live.kind != "r" or live.partition:
        return [
            f"{name} {'is a partition: vectorize a plain table' if live.partition else _KINDS[live.kind]}"
        ]
    if not live.owned:
        return [
            f"{name} belongs to another role: be a member of that, or change it (ALTER TABLE … OWNER TO), "
            "and the owner of the functions that its triggers, indexes and constraints call"
        ]
    problems = []
    if live.inherited:
        problems.append(
            f"{name} has tables that inherit from it, whose rows are among its own and have keys and "
            "triggers of their own: vectorize a table that nothing inherits from"
        )
    if live.inherits and embedding.sync == "queue":
        problems.append(
            f"{name} inherits from another table, and what is written by way of that never reaches a queue: "
            "use `sync: trigger`, or ALTER TABLE … NO INHERIT"
        )
    if live.hides:
        problems.append(
            f"{name} has row-level security that is forced on its owner, too, and would hide rows: "
            f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY, or let a role with BYPASSRLS apply"
        )
    if embedding.sync == "trigger":
        problems.extend(
            f"{name} has the trigger {quoted(one)}, which changes rows after azpg's, as its name comes "
            "later: rename it to one before zzz_azpg, or use `sync: queue`"
            for one, _ in live.later
        )
    if embedding.sync in {"trigger", "generated"}:
        made = sorted(embedding.columns & {key for key, one in live.columns.items() if one.generated})
        problems.extend(
            f"{name}.{quoted(one)} is generated, which PostgreSQL does after what `sync: {embedding.sync}` "
            f"would do for {quoted(embedding.column)}: use `sync: queue`, or write what it is generated of "
            "as the expression"
            for one in made
        )
    for missing in sorted(embedding.columns - live.columns.keys()):
        near = get_close_matches(missing, live.columns, n=1)
        meant = f"did you mean {quoted(near[0])}?" if near else f"use {', '.join(map(quoted, live.columns))}"
        problems.append(
            f"{name} has no column {quoted(missing)}, of which {quoted(embedding.column)} is made: {meant}"
        )
    if key_of(table, live) is None:
        problems.append(_wrong_key(table, live))
    return problems


def _wrong_key(table: Table, live: LiveTable) -> str:
    """Why there is no `key_of` a table, with what to do."""
    name = table.full_name
    keys = " or ".join(f"({', '.join(map(quoted, key))})" for key in live.keys)
    temporal = next((key for key in live.temporal_keys if set(key) == set(table.key or key)), ())
    if temporal:
        columns = ", ".join(map(quoted, temporal))
        use = f"use {keys} as key, or " if keys else ""
        return (
            f"the key ({columns}) of {name} is WITHOUT OVERLAPS, whose last column PostgreSQL compares by && "
            f"and not by =, as azpg tells rows apart: {use}CREATE UNIQUE INDEX ON {name} ({columns}), and "
            f"write key: [{columns}]"
        )
    other = table.key or next(iter(live.other_keys if not keys else ()), ())
    if table.key is None and not other:
        do = f"name the columns of a unique one as key: {keys}" if keys else "add a primary key"
        return f"{name} has no primary key, which tells its rows apart: {do}"
    columns = ", ".join(map(quoted, other))
    if any(set(key) == set(other) for key in live.other_keys):
        return (
            f"the unique index of {name} on ({columns}) tells rows apart otherwise than = does for these "
            "columns, by an operator class or a collation of its own: make one without, or "
            f"{f'use {keys}' if keys else 'a primary key'}"
        )
    return f"{name} has no unique index on ({columns}) without NULLs: " + (
        f"use {keys}" if keys else "add one, or a primary key"
    )


def key_of(table: Table, live: LiveTable) -> tuple[Key, ...] | None:
    """The key's columns in their index's order, None if there is no such index."""
    if table.key is None:
        names = live.keys[0] if live.keys and live.primary else None
    else:
        names = next((key for key in live.keys if set(key) == set(table.key)), None)
    return None if names is None else tuple(Key(name, live.columns[name].type) for name in names)


def dimensions_of(embedding: Embedding, model: Mapping[str, Any] | None) -> int | None:
    """How many dimensions a column's vectors have, by its model, else by the spec; None where nobody says."""
    found = None if model is None else model.get("dimensions")
    return embedding.dimensions if found is None else int(found)


def wrong_dimensions(embedding: Embedding, model: Mapping[str, Any]) -> str:
    """Why a model that is registered cannot fill a column, with what to do; empty if it can."""
    found = dimensions_of(embedding, model)
    if found is None:
        return (
            f"the server does not say how many dimensions the model {embedding.model} has: say so with "
            f"dimensions, for {quoted(embedding.column)}"
        )
    if embedding.dimensions in {None, found}:
        return ""
    return (
        f"{quoted(embedding.column)} is to have {embedding.dimensions} dimensions, and the model "
        f"{embedding.model} has {found}: use that, or leave dimensions out"
    )


def wrong_text(embedding: Embedding, trouble: str) -> str:
    """That rows cannot have a column's text, why, and what to do."""
    key = "source" if embedding.source else "expression"
    return f"the {key} of {quoted(embedding.column)} cannot be computed: {trouble}: correct it"


def column_of(table: Table, embedding: Embedding, live: LiveTable, model: Mapping[str, Any]) -> VectorColumn:
    """The column that a spec asks for, of a table about which nothing is `wrong`; its number is 0."""
    keys = key_of(table, live)
    assert keys is not None
    return VectorColumn(
        id=0,
        schema=table.schema_,
        table=table.name,
        column=embedding.column,
        keys=keys,
        text=embedding.text,
        model=embedding.model,
        prefix=embedding.prefix,
        dimensions=dimensions_of(embedding, model) or 0,
        fingerprint=fingerprint_of(model),
        sync=Sync(embedding.sync),
        timeout=embedding.timeout,
    )


def index_of(index: Index) -> VectorIndex:
    """The index that a spec asks for."""
    return VectorIndex(Method(index.method), index.opclass, index.parameters)


def index_name(column: VectorColumn, index: VectorIndex) -> str:
    """The index as the ledger knows it."""
    return qualified(column.schema, index.name(column))


def serves(there: VectorIndex, wanted: VectorIndex) -> bool:
    """Whether an index is as it is wanted; parameters that are not given may be any."""
    return (there.method, there.opclass) == (wanted.method, wanted.opclass) and (
        wanted.parameters.items() <= there.parameters.items()
    )
