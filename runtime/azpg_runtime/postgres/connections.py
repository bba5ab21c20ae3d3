"""Ways into a local server: the server admin's through TCP, the superuser's through the socket."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
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
        """Where the admin's password is."""
        return Passfile(self.home.passfile)

    def dsn(self, dbname: str, *, with_password: bool = False, tls: bool = False) -> str:
        """A libpq URI of the server admin.

        It names the passfile and says that there is no TLS on this port, whatever PGSSLMODE says. With
        the password in it, it is for drivers that know neither of these options. With `tls` it is for the
        TLS front and says how to know that for what it is.
        """
        about = self.description
        secret, options = "", {"passfile": str(self.home.passfile), "sslmode": "disable"}
        if with_password:
            secret, options = ":" + quote(self.passfile.password(), safe=""), {}
        if tls:
            options |= {"sslmode": "verify-full", "sslrootcert": str(self.home.home.ca / "ca.crt")}
        user, database = quote(about.admin, safe=""), quote(dbname, safe="")
        query = "?" + urlencode(options, quote_via=quote) if options else ""
        port = about.tls_port if tls else about.port
        return f"postgresql://{user}{secret}@{HOST}:{port}/{database}{query}"

    def admin(self, dbname: str, **options: Any) -> psycopg.Connection[Any]:
        """A connection of the server admin; `options` as psycopg's."""
        with _without_libpq_environment():
            return psycopg.connect(self.dsn(dbname), **options)

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


@contextlib.contextmanager
def _without_libpq_environment() -> Iterator[None]:
    """Hides PGOPTIONS, PGSERVICE, PGSSLMODE and their like, which are meant for somebody's other servers."""
    with _environment:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        try:
            yield
        finally:
            os.environ.update(hidden)
