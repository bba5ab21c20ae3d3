"""Steps that concern the whole server."""

from __future__ import annotations

from psycopg import sql

from azpg.extensions import normalise
from azpg_provision import live
from azpg_provision.apply.work import Work
from azpg_provision.live.local_ai import require
from azpg_provision.live.reading import EXTENSIONS, PRELOAD
from azpg_provision.plan.change import Change
from azpg_provision.spec.identifier import quoted
from azpg_provision.spec.model import LOCAL_AI
from azpg_provision.target.target import Connection


def allow(work: Work, change: Change) -> None:
    """Adds an extension to the allow-list; what is there stays."""
    _add(work, EXTENSIONS, change.name)


def preload(work: Work, change: Change) -> None:
    """Adds a preloaded library; it takes effect with the restart that follows."""
    _add(work, PRELOAD, change.name)


def _add(work: Work, parameter: str, name: str) -> None:
    there = normalise(work.target.parameter(parameter))
    if name not in there:
        work.target.set_list(parameter, [*there, name])


def restart(work: Work, _: Change) -> None:
    """Restarts the server."""
    work.target.restart()


def create_database(work: Work, change: Change) -> None:
    """Makes a database, in the server's encoding and locale."""
    name = next(one.name for one in work.spec.databases if quoted(one.name) == change.name)
    with work.target.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def set_setting(work: Work, change: Change) -> None:
    """Sets a setting of azure_local_ai."""
    with _local_ai(work) as connection, connection.transaction():
        require(connection)
        connection.execute(
            "SELECT azure_local_ai.set_setting(%s::text, %s::text)", [change.name, change.after]
        )


def register(work: Work, change: Change) -> None:
    """Registers a model; one that is registered already stays as it is."""
    model = next(one for one in work.spec.models if one.uri == change.name)
    with _local_ai(work) as connection, connection.transaction():
        require(connection)
        if live.model(connection, model.uri) is None:
            parameters = [model.uri, model.source, model.tokenizer_path]
            connection.execute("SELECT azure_local_ai.model_register(%s, %s, %s)", parameters)


def _local_ai(work: Work) -> Connection:
    """A connection to a database that has azure_local_ai: models and settings belong to the server."""
    database = next(one for one in work.spec.databases if one.has(LOCAL_AI))  # a rule of the spec
    return work.target.connect(database.name)
