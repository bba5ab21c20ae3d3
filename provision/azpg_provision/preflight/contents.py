"""What is in the server already: databases, models, and room for what is to come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import psycopg

from azpg.profiles import LOCAL_AI
from azpg_provision.errors import ExtensionMismatch
from azpg_provision.live.local_ai import model_metadata
from azpg_provision.preflight.check import Check, Looks, failed, passed, unknown
from azpg_provision.preflight.needs import Column, Database, Model, Needs
from azpg_provision.preflight.offers import EXTENSIONS
from azpg_provision.preflight.site import NotKnown, Site

_DATABASES = """
SELECT ARRAY(SELECT CAST(datname AS pg_catalog.text) FROM pg_catalog.pg_database
             WHERE datallowconn AND NOT datistemplate
                   AND pg_catalog.has_database_privilege(datname, 'CONNECT') ORDER BY datname)
"""
_USUAL_DIMENSIONS = 384
_STATE_BYTES = 150
"""Of one row in schema azpg: key, hash and their index."""
_INDEX_FACTOR = 1.3
"""An approximate index holds the vectors once more, and its links."""
_KEPT_FREE = 0.1


def looks(site: Site, needs: Needs) -> Looks:
    """The checks."""
    for database in needs.databases:
        yield f"database.{database.name}", partial(_database, site, database)
    for model in needs.models:
        yield f"model.{model.uri}", partial(_model, site, needs, model)
    yield "disk", partial(_disk, site, needs)


def _exists(site: Site, name: str) -> bool:
    return bool(
        site.row(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s",
            name,
        )[0]
    )


def _database(site: Site, database: Database) -> Check:
    id_ = f"database.{database.name}"
    if not _exists(site, database.name):
        may = site.row(
            "SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles "
            "WHERE rolname OPERATOR(pg_catalog.=) session_user"
        )[0]
        if may:
            return passed(id_, f"{database.name} does not exist; `azpg apply` makes it.")
        return failed(
            id_,
            f"{database.name} does not exist, and who logs in may not make databases.",
            "Make it, or log in as a role with CREATEDB.",
        )
    refusal = site.refusal(database.name)
    if refusal is not None:
        return failed(id_, refusal, "`azpg help targets` says how azpg logs in.")
    return passed(id_, f"{database.name} exists.")


def _model(site: Site, needs: Needs, model: Model) -> Check:
    """By a database that has azure_local_ai, whosever it is: models belong to the server."""
    offered = site.allowed_values(EXTENSIONS)
    if offered is not None and LOCAL_AI not in offered:
        raise NotKnown(f"There are no models without azure_local_ai (see `extension.{LOCAL_AI}`).")
    for database in _with_local_ai(site, needs):
        try:
            found = model_metadata(site.session(database), model.uri)
        except psycopg.errors.UndefinedObject:
            return _unregistered(site, model)
        except ExtensionMismatch as error:
            if database not in {one.name for one in needs.databases}:
                continue  # somebody else's need not be as it should
            action = f"Until then azpg does nothing in {database!r} that needs {LOCAL_AI}."
            return failed(f"model.{model.uri}", str(error), action)
        return _dimensions(needs, model.uri, int(found["dimensions"]))
    if model.uri in (site.target.registered_models() or ()):
        return passed(f"model.{model.uri}", f"{model.uri} is registered.")
    return _unregistered(site, model)


def _unregistered(site: Site, model: Model) -> Check:
    """Whether the server would find it: a local one's store is on this machine."""
    id_ = f"model.{model.uri}"
    if trouble := site.target.model_trouble(model.source, model.tokenizer):
        return failed(id_, f"{model.uri} cannot be registered: {trouble}", "Then ask again.")
    if site.local is not None:
        return passed(id_, f"{model.source} is in the store; `azpg apply` registers it as {model.uri}.")
    return unknown(
        id_,
        f"{model.uri} is not registered yet; `azpg apply` registers it.",
        "Its path has to be one that the server finds: on the twin, `azpg models list` shows them.",
    )


def _with_local_ai(site: Site, needs: Needs) -> Iterator[str]:
    """The databases that have it, those of the needs first."""
    there = site.row(_DATABASES)[0]
    named = [database.name for database in needs.databases if database.name in there]
    for name in dict.fromkeys([*named, *there]):
        if site.has(LOCAL_AI, name):
            yield name
        if name not in named:
            site.leave(name)


def _dimensions(needs: Needs, uri: str, has: int) -> Check:
    for database in needs.databases:
        for column in database.columns:
            if column.model == uri and column.dimensions not in {None, has}:
                return failed(
                    f"model.{uri}",
                    f"{uri} has {has} dimensions; {column.schema}.{column.table} in {database.name} wants "
                    f"{column.dimensions}.",
                    f"Write dimensions: {has}, or choose another model.",
                )
    return passed(f"model.{uri}", f"{uri} is registered, with {has} dimensions.")


def _disk(site: Site, needs: Needs) -> Check:
    size = site.facts.storage_gb
    if not size:
        raise NotKnown("A local server's disk is this machine's, and shared.")
    used = site.row("SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database")[0]
    free = size * 2**30 - int(used)
    wanted = sum(_growth(site, database) for database in needs.databases)
    said = f"{_gib(free)} of {size} GiB are free, without write-ahead logs and backups"
    if wanted:
        said += f"; about {_gib(wanted)} GiB are needed"
    if wanted > free - _KEPT_FREE * size * 2**30:
        return failed(
            "disk",
            f"{said}: a server whose disk is nearly full takes no more writes.",
            "Enlarge its storage (azpg:storageGb) first.",
        )
    return passed("disk", f"{said}.")


def _growth(site: Site, database: Database) -> int:
    """Bytes that a database's vectors, state and indexes take, by PostgreSQL's own estimate of rows."""
    if not database.columns or not _exists(site, database.name):
        return 0
    return sum(_of_column(site, database.name, column) for column in database.columns)


def _of_column(site: Site, database: str, column: Column) -> int:
    """Each row is written anew, with its vector."""
    rows, width = site.row(
        """
        SELECT coalesce(pg_catalog.max(greatest(c.reltuples, 0)), 0),
               coalesce(pg_catalog.max(
                   pg_catalog.pg_table_size(c.oid) OPERATOR(pg_catalog./) greatest(c.reltuples, 1)), 0)
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE n.nspname OPERATOR(pg_catalog.=) %s AND c.relname OPERATOR(pg_catalog.=) %s
        """,
        column.schema,
        column.table,
        database=database,
    )
    vector = 4 * (column.dimensions or _USUAL_DIMENSIONS) + 8
    index = _INDEX_FACTOR * vector if column.indexed else 0
    return int(float(rows) * (float(width) + vector + index + _STATE_BYTES))


def _gib(size: float) -> str:
    return (
        "0.1" if size < 2**30 / 10 else f"{size / 2**30:.1f}" if size < 10 * 2**30 else f"{size / 2**30:.0f}"
    )
