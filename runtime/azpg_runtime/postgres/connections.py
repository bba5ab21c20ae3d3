"""Ways into a local server: the server admin's through TCP, the superuser's through the socket."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from azpg_runtime.home import InstanceHome
from azpg_runtime.postgres.description import Description
from azpg_runtime.postgres.passfile import Passfile
from azpg_runtime.postgres.roles import MAINTENANCE, SAFE_OPTIONS, SUPERUSER

HOST = "127.0.0.1"
_environment = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections to one instance. Each raises psycopg's OperationalError where no server answers."""

    home: InstanceHome
    description: Description

    @property
    def passfile(self) -> Passfile:
        """Where the admin's password is; by it libpq finds it for the two TCP ports."""
        return Passfile(self.home.passfile)

    def keep_password(self, password: str | None = None) -> str:
        """Writes down `password`, the one that there is, or a new one, for all ways in; returns it."""
        password = self.passfile.prepare(host=HOST, user=self.description.admin, password=password)
        self._socket_passfile(password)
        return password

    def _socket_passfile(self, password: str) -> Path:
        """The file by which libpq finds the password for the Unix socket, brought up to date.

        It is a second one, because an azpg that knows of one line only must be able to read the first. The
        socket's folder depends on the environment; an instance of an earlier azpg has no such file yet.
        """
        kept = Passfile(self.home.socket_passfile)
        kept.prepare(host=str(self.home.postgres_sockets), user=self.description.admin, password=password)
        return kept.path

    def dsn(self, dbname: str, *, with_password: bool = False, tls: bool = False, tcp: bool = False) -> str:
        """A libpq URI of the server admin, for the Unix socket unless another way is asked for.

        While the server is down, nobody else can listen where its socket was; a port anybody can take,
        and a client would send whoever listens there the password, if it is asked for it in the clear.

        It names a passfile and says that there is no TLS here, whatever PGSSLMODE says. With the password
        in it, it is for drivers that know neither of these options. With `tls` it is for the TLS front and
        says how to know that for what it is.
        """
        about = self.description
        user, database = quote(about.admin, safe=""), quote(dbname, safe="")
        secret = ":" + quote(self.passfile.password(), safe="") if with_password else ""
        options: dict[str, str] = {}
        if tls or tcp:
            where = f"{HOST}:{about.tls_port if tls else about.port}"
            passfile = self.home.passfile
        else:
            where = ""
            options |= {"host": str(self.home.postgres_sockets), "port": str(about.port)}
            passfile = self._socket_passfile(self.passfile.password())
        if not with_password:
            options |= {"passfile": str(passfile), "sslmode": "disable"}
        if tls:
            options |= {"sslmode": "verify-full", "sslrootcert": str(self.home.home.ca / "ca.crt")}
        query = "?" + urlencode(options, quote_via=quote) if options else ""
        return f"postgresql://{user}{secret}@{where}/{database}{query}"

    def admin(self, dbname: str, **options: Any) -> psycopg.Connection[Any]:
        """A connection of the server admin; `options` as psycopg's."""
        with _without_libpq_environment():
            return psycopg.connect(self.dsn(dbname), **(_to_the_server(self.description) | options))

    def superuser(self, dbname: str = MAINTENANCE) -> psycopg.Connection[Any]:
        """A connection of azuresu, in autocommit: for the twin itself, not for people."""
        with _without_libpq_environment():
            return psycopg.connect(
                host=str(self.home.postgres_sockets),
                port=self.description.port,
                user=SUPERUSER,
                dbname=dbname,
                autocommit=True,
                application_name="azpg",
                options=SAFE_OPTIONS,
            )


def _to_the_server(description: Description) -> dict[str, str]:
    """Options by which libpq gives the password to nobody but the server, as far as it knows them.

    They are not part of the URIs that are printed: other drivers, and libpq before 16, refuse them.
    """
    options = {"requirepeer": description.os_user}
    if psycopg.pq.version() >= 160000:
        options["require_auth"] = "scram-sha-256"
    return options


@contextlib.contextmanager
def _without_libpq_environment() -> Iterator[None]:
    """Hides PGOPTIONS, PGSERVICE, PGSSLMODE and their like, which are meant for somebody's other servers."""
    with _environment:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        try:
            yield
        finally:
            os.environ.update(hidden)
