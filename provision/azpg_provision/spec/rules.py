"""Rules that concern several keys of a spec at once, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from azpg.azure.names import CLOSED_DATABASES
from azpg.profiles import PRELOADABLE
from azpg_provision.spec.document import Path
from azpg_provision.spec.model import LOCAL_AI, Database, Embedding, Grant, Index, Spec

Problem = tuple[Path, str]
_ON_SCHEMA = frozenset({"usage", "create"})
_SETTINGS = ("inter_op_parallelism", "intra_op_parallelism", "spin_control")
_PARAMETERS = {
    "hnsw": frozenset({"m", "ef_construction"}),
    "ivfflat": frozenset({"lists"}),
    "diskann": frozenset({"max_neighbors", "l_value_ib"}),
}


def check(spec: Spec) -> Iterator[Problem]:
    """What is wrong with a spec whose every key is right by itself."""
    yield from _target(spec)
    yield from _server(spec)
    yield from _twice(("models",), [model.uri for model in spec.models], "uri")
    yield from _twice(("databases",), [database.name for database in spec.databases], "name")
    for number, database in enumerate(spec.databases):
        for path, text in _database(database, spec):
            yield ("databases", number, *path), text


def _twice(path: Path, names: Iterable[object], key: str = "") -> Iterator[Problem]:
    seen: set[object] = set()
    for number, name in enumerate(names):
        if name in seen:
            yield (*path, number, *([key] if key else [])), f"{name} is there twice: name it once"
        seen.add(name)


def _target(spec: Spec) -> Iterator[Problem]:
    target = spec.target
    given = [key for key in ("local", "dsn", "azure", "stack") if getattr(target, key) is not None]
    if len(given) > 1:
        yield ("target", given[1]), f"{' and '.join(given)} are given: name one server"
    if "target" in spec.model_fields_set and not given:
        yield ("target",), "names no server: use one of local, dsn, azure and stack"
    if target.cwd is not None and target.stack is None:
        yield ("target", "cwd"), "is the folder of a stack, and there is none: set stack, or leave it out"


def _server(spec: Spec) -> Iterator[Problem]:
    yield from _twice(("server", "allow"), spec.server.allow)
    yield from _twice(("server", "preload"), spec.server.preload)
    for number, name in enumerate(spec.server.preload):
        if name not in PRELOADABLE:
            allowed = ", ".join(sorted(PRELOADABLE))
            yield ("server", "preload", number), f"{name} cannot be preloaded: use {allowed}"
    for name in spec.server.settings:
        if name not in _SETTINGS:
            near = get_close_matches(name, _SETTINGS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"use {', '.join(_SETTINGS)}"
            yield ("server", "settings", name), f"is no setting of {LOCAL_AI}: {meant}"
    for key in ("models", "settings"):
        wanted = spec.models if key == "models" else spec.server.settings
        if wanted and not any(database.has(LOCAL_AI) for database in spec.databases):
            path: Path = ("models",) if key == "models" else ("server", "settings")
            yield path, f"need the extension {LOCAL_AI} in a database: add it to its extensions"


def _database(database: Database, spec: Spec) -> Iterator[Problem]:
    if database.name in CLOSED_DATABASES:
        yield ("name",), f"{database.name} belongs to the server: use a database of your own"
    yield from _twice(("extensions",), [one.name for one in database.extensions], "name")
    yield from _twice(("init",), [one.path for one in database.init])
    yield from _twice(("tables",), [table.full_name for table in database.tables], "name")
    for number, grant in enumerate(database.grants):
        for path, text in _grant(grant):
            yield ("grants", number, *path), text
    missing = [name for name in ("vector", LOCAL_AI) if not database.has(name)]
    if database.tables and missing:
        text = f"need the extensions vector and {LOCAL_AI}: add {' and '.join(missing)} to extensions"
        yield ("tables",), text
    for number, table in enumerate(database.tables):
        columns = [embedding.column for embedding in table.embeddings]
        place: Path = ("tables", number, "embeddings")
        yield from _twice(place, columns, "column")
        yield from _twice(("tables", number, "key"), table.key or ())
        for position, embedding in enumerate(table.embeddings):
            for path, text in _embedding(embedding, spec):
                yield (*place, position, *path), text
            if used := sorted(embedding.columns & set(columns)):
                key = "source" if embedding.expression is None else "expression"
                yield (*place, position, key), f"{used[0]} is a column of vectors: embed texts only"


def _grant(grant: Grant) -> Iterator[Problem]:
    if grant.member_of is not None:
        if grant.privileges or grant.on is not None:
            yield (), "has member_of and privileges: make two grants of it"
        return
    if not grant.privileges or grant.on is None:
        yield (), "says neither member_of, nor privileges and on: use one of them"
        return
    yield from _twice(("privileges",), grant.privileges)
    for number, name in enumerate(grant.privileges):
        if (name in _ON_SCHEMA) is not (grant.on.table is None):
            what = "a schema" if name in _ON_SCHEMA else "a table"
            do = "leave table out" if name in _ON_SCHEMA else "name a table"
            yield ("privileges", number), f"{name} is a privilege on {what}: {do}, or use another"


def _embedding(embedding: Embedding, spec: Spec) -> Iterator[Problem]:
    uris = [model.uri for model in spec.models]
    if embedding.model not in uris:
        near = get_close_matches(embedding.model, uris, n=1)
        meant = f"did you mean {near[0]}?" if near else f"add it, or use {', '.join(uris) or 'one of them'}"
        yield ("model",), f"{embedding.model} is not in models: {meant}"
    if (embedding.source is None) is (embedding.expression is None):
        yield ("column",), f"{embedding.column} needs either source or expression: give one of them"
    yield from _twice(("source",), embedding.source or ())
    if "timeout" in embedding.model_fields_set and embedding.sync != "trigger":
        yield ("timeout",), f"timeout is for sync: trigger, and this is {embedding.sync}: leave it out"
    if embedding.index is not None:
        for path, text in _index(embedding.index):
            yield ("index", *path), text


def _index(index: Index) -> Iterator[Problem]:
    own = _PARAMETERS[index.method]
    for name in index.parameters:
        if name not in own:
            other = next(method for method, names in _PARAMETERS.items() if name in names)
            yield (name,), f"is of {other}, not of {index.method}: use {', '.join(sorted(own))}"
    if index.method == "hnsw" and (index.ef_construction or 64) < 2 * (index.m or 16):
        yield ("ef_construction",), "is too small: use at least twice m"
    if index.method != "hnsw" and index.opclass == "vector_l1_ops":
        yield (
            ("opclass",),
            "vector_l1_ops is of hnsw only: use vector_cosine_ops, vector_l2_ops or vector_ip_ops",
        )
