"""The databases of tests on one twin: templates, made once in a run, and their copies, one for each test."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from azpg.extensions import join
from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.system.locks import locked
from azpg_runtime.testing.wanted import Wanted, model_name

Connection = psycopg.Connection[Any]
_LABEL_LENGTH = 48


class Fill(Protocol):
    """Puts things into a database."""

    def __call__(self, *, connection: Connection, dsn: str) -> object:
        """Is called with a connection in autocommit, and a libpq URI of the same database."""


class Databases:
    """The databases of tests on `twin`; `lock` is the path of the lock under which templates are made.

    What PostgreSQL refuses is an `InstanceError`.
    """

    base = "azpg_template"
    """The template with the extensions; all others are copies of it."""

    def __init__(self, twin: Instance, *, lock: Path) -> None:
        self._twin = twin
        self._lock = lock
        self._ready: set[str] = set()
        self._failed: dict[str, str] = {}

    def prepare(self, wanted: Wanted) -> None:
        """Allow-lists the extensions, makes the base template with them and registers the models."""
        extensions = wanted.created(self._twin.description)
        self._twin.set_parameter("azure.extensions", join(extensions))

        def fill(connection: Connection, dsn: str) -> None:
            for name in extensions:
                with _explained(f"the extension {name} cannot be created"):
                    connection.execute(
                        sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name))
                    )
            for uri in wanted.models:
                with _explained(f"the model {uri} cannot be registered"):
                    connection.execute("SELECT azure_local_ai.model_register(%s, %s)", [uri, model_name(uri)])

        self._make(self.base, "template1", fill)

    def template(self, key: str, fill: Fill, *, source: str) -> str:
        """The name of the template that `fill` makes of a copy of `source`.

        It is called once in a run for each `key`, in whichever process comes first. What it raises is
        raised here; after that, each call in this process is an `InstanceError`.
        """
        name = f"{self.base}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        if name in self._failed:
            raise InstanceError(
                f"the template could not be filled: {self._failed[name]}",
                hint="See the first test that failed.",
            )
        if name not in self._ready:
            with locked(self._lock):
                try:
                    self._make(name, source, fill)
                except Exception as error:
                    self._failed[name] = f"{type(error).__name__}: {error}".split("\n", 1)[0]
                    raise
            self._ready.add(name)
        return name

    def create(self, label: str, *, template: str) -> str:
        """Makes a database as a copy of `template` and returns its name, which begins with `label`."""
        words = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
        name = f"{words[:_LABEL_LENGTH]}_{secrets.token_hex(4)}"
        self._copy(template, name)
        return name

    def drop(self, name: str) -> None:
        """Drops a database and ends the sessions in it."""
        # As the superuser: FORCE may have to end a superuser's session that is just leaving.
        with self._twin.superuser() as connection, _explained(f"the database {name} cannot be dropped"):
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _exists(self, name: str) -> bool:
        with self._twin.superuser() as connection:
            query = "SELECT FROM pg_database WHERE datname = %s"
            return connection.execute(query, [name]).fetchone() is not None

    def _copy(self, template: str, name: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self._twin.connect(autocommit=True) as connection, _explained(f"{template} cannot be copied"):
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))

    def _make(self, name: str, source: str, fill: Fill) -> None:
        """Makes a template unless it exists: it gets its name last, and takes no connections after that."""
        if self._exists(name):
            return
        unfinished = f"{name}_new"
        self.drop(unfinished)  # left by a process that was killed
        self._copy(source, unfinished)
        with self._twin.connect(unfinished, autocommit=True) as connection:
            fill(connection=connection, dsn=self._twin.dsn(unfinished))
        new = sql.Identifier(unfinished)
        with self._twin.superuser() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(new))
            # Such as those that a migration tool keeps in a pool.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [unfinished]
            )
            connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(new, sql.Identifier(name)))


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns what PostgreSQL refuses into an `InstanceError` that begins with `what`."""
    try:
        yield
    except psycopg.Error as error:
        said = error.diag
        raise InstanceError(
            f"{what}: {said.message_primary or error}",
            detail=said.message_detail or "",
            hint=said.message_hint or "",
        ) from None
