"""Any server that a connection string leads to, as a target. It has no management side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import psycopg
from psycopg.conninfo import conninfo_to_dict

from azpg_provision.errors import PlanRefused, TargetUnreachable
from azpg_provision.spec.secret import Secret
from azpg_provision.target.connecting import connect
from azpg_provision.target.target import Connection

_PORTS = re.compile(r"[0-9,]*")


class DsnTarget:
    """A server by a connection string; see `azpg_provision.target.target.Target`.

    Args:
        dsn: libpq's, a URI or `key=value` pairs; its own database counts as the one that always exists.
        source: where it comes from, such as ``env:DATABASE_URL``; empty for one that may be shown.

    Raises `TargetUnreachable` for what is no connection string.
    """

    kind = "dsn"

    def __init__(self, dsn: Secret, *, source: str = "") -> None:
        where = f"what {source} holds" if source else "the connection string"
        try:
            parts = conninfo_to_dict(dsn.reveal())
        except psycopg.Error:  # its message may hold the text
            raise TargetUnreachable(
                f"{where} is none: use a URI such as postgresql://admin@host/postgres?sslmode=verify-full."
            ) from None
        host = str(parts.get("host") or parts.get("hostaddr") or parts.get("service") or "localhost")
        port = str(parts.get("port") or "")
        if "@" in host or not _PORTS.fullmatch(port):  # they would be a part of the password
            raise TargetUnreachable(
                f"{where} has no host or port where they belong: in a password, write @ as %40, / as %2F, "
                ": as %3A."
            )
        self._dsn = dsn
        self._main = str(parts.get("dbname") or "postgres")
        self.name = f"{source or 'dsn'} ({host}{':' if port else ''}{port})"

    def connect(self, database: str = "", *, autocommit: bool = True) -> Connection:
        """As `Target.connect`; by default to the database that the connection string names."""
        return connect(
            self.name,
            self._dsn,
            database=database or self._main,
            autocommit=autocommit,
            hint="Check the connection string and that the server is up.",
        )

    def allowed_values(self, parameter: str) -> frozenset[str] | None:
        """None: only the management side knows."""
        return None

    def parameter(self, name: str) -> str:
        """As `Target.parameter`. Raises `PlanRefused` for one that the role may not see, or there is not."""
        with self.connect() as connection:
            try:
                row = connection.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone()
            except psycopg.Error as error:
                raise PlanRefused(f"{self.name}: {error.diag.message_primary}.") from None
        return str(row[0]) if row else ""

    def pending_restart(self, parameter: str) -> bool:
        """Whether `pg_settings` says so; False for a role that may not see it."""
        query = "SELECT pending_restart FROM pg_catalog.pg_settings WHERE name = %s"
        with self.connect() as connection:
            row = connection.execute(query, [parameter]).fetchone()
        return bool(row and row[0])

    def set_list(self, parameter: str, names: Sequence[str]) -> bool:
        """Cannot be done through a connection. Raises `PlanRefused`."""
        raise self._refusal(f"set the server parameter {parameter} to {','.join(names)}")

    def missing_libraries(self, names: Sequence[str]) -> Mapping[str, str]:
        """None: that cannot be known through a connection."""
        return {}

    def model_trouble(self, source: str, tokenizer: str | None) -> str:
        """Nothing: that cannot be known through a connection."""
        return ""

    def registered_models(self) -> frozenset[str] | None:
        """None: only azure_local_ai knows."""
        return None

    def close(self) -> None:
        """As `Target.close`: there is nothing."""

    def restart(self) -> None:
        """Cannot be done through a connection. Raises `PlanRefused`."""
        raise self._refusal("restart the server")

    def _refusal(self, what: str) -> PlanRefused:
        return PlanRefused(
            f"{self.name} is a plain connection, which cannot {what}: do that in the portal or with "
            "`az postgres flexible-server`, or name the server itself (target azure, stack or local)."
        )
