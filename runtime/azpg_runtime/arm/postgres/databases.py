"""Databases of a flexible server, which are those of the local one."""

from __future__ import annotations

import psycopg
from azure.mgmt.postgresqlflexibleservers import models
from psycopg import sql

from azpg.azure.names import NAME_LIMIT, SYSTEM_DATABASES
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.parts import Part
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.schema.document import check
from azpg_runtime.arm.services import not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal

DEFAULT_COLLATION = "en_US.utf8"
"""Azure's. The local server's own, C.UTF-8, stands for it: it sorts by code point."""
_LIST = """
    SELECT datname, pg_encoding_to_char(encoding), datcollate FROM pg_database
    WHERE NOT datistemplate AND (%(name)s::text IS NULL OR datname = %(name)s) ORDER BY datname
"""


class Databases(Part):
    """Microsoft.DBforPostgreSQL/flexibleServers/databases."""

    resource_type = "Microsoft.DBforPostgreSQL/flexibleServers/databases"
    model = models.Database

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.services.operations.verb("database.create", self._create, undo=self._forget)
        self.services.operations.verb("database.delete", self._delete)

    def get(self, call: Call) -> Answer:
        """One database."""
        found = self._live(call.address, call.address.name)
        if not found:
            raise not_found(call.address.spelled(self.resource_type))
        return Answer(body=found[0])

    def listing(self, call: Call) -> Answer:
        """All databases."""
        return listed(self._live(call.address, None))

    def put(self, call: Call) -> Answer:
        """Makes a database; one that exists stays as it is, and cannot become another."""
        self.server(call.address)
        body = check(self.model, call.body or {}, "create").get("properties", {})
        name = call.address.name
        if len(name.encode()) > NAME_LIMIT or not name.isprintable():
            raise refusals.invalid("databaseName", f"Use 1 to {NAME_LIMIT} bytes that can be printed.")
        self.servers.check_ready(self.server(call.address))
        wanted = {
            "charset": body.get("charset", "UTF8"),
            "collation": body.get("collation", DEFAULT_COLLATION),
        }
        found = self._live(call.address, name)
        if found:
            has = found[0]["properties"]
            for one, value in wanted.items():
                if one in body and value.lower() != has[one].lower():
                    raise refusals.invalid(one, f"The database '{name}' has {has[one]}, which cannot change.")
        placed = self.placed(call.address)
        resource = Resource(
            {"id": str(placed), "name": name, "type": self.resource_type, "properties": wanted}
        )
        return self.begin(
            call,
            "database.create",
            placed,
            wanted,
            prepare=lambda: None if found else self.state.put(resource),
        )

    def delete(self, call: Call) -> Answer:
        """Drops a database with its data."""
        self.server(call.address)
        if call.address.name in SYSTEM_DATABASES:
            raise refusals.invalid(
                "databaseName", f"The system database '{call.address.name}' cannot be dropped."
            )
        self.servers.check_ready(self.server(call.address))
        if not self._live(call.address, call.address.name):
            return Answer(204)
        return self.begin(call, "database.delete", call.address)

    def _create(self, address: Address, wanted: Json) -> None:
        if self._live(address, address.name):
            return
        collation = sql.Literal(wanted["collation"])
        own: sql.Composable = sql.SQL("")
        if wanted["collation"].lower() != DEFAULT_COLLATION.lower():
            own = sql.SQL(" LOCALE_PROVIDER libc LC_COLLATE {0} LC_CTYPE {0}").format(collation)
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
            sql.Identifier(address.name), sql.Literal(wanted["charset"])
        )
        try:
            with self.instance(address).connect(autocommit=True) as connection:
                connection.execute(statement + own)
        except psycopg.DatabaseError as error:
            raise ArmRefusal(
                400,
                "InvalidParameterValue",
                f"The database '{address.name}' cannot be made: {error.diag.message_primary or error}.",
            ) from None

    def _forget(self, address: Address, _: Json) -> None:
        if not self._live(address, address.name):
            self.state.delete(address)

    def _delete(self, address: Address, _: Json) -> None:
        # As the superuser: its sessions are ended, whoever's they are.
        with self.instance(address).superuser() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(address.name))
            )
        self.state.delete(address)

    def _live(self, address: Address, name: str | None) -> list[Json]:
        """What the local server has, with what was asked for when it was made."""
        server = self.server(address)
        if self.servers.state_of(server) == "Stopped":
            raise refusals.not_ready(server.address.name, "Stopped")
        with self.instance(address).superuser() as connection:
            rows = connection.execute(_LIST, {"name": name}).fetchall()
        return [self._body(server, *row) for row in rows]

    def _body(self, server: Resource, name: str, charset: str, collation: str) -> Json:
        address = server.address.child("databases", name)
        kept = self.state.get(address)
        shown = DEFAULT_COLLATION if collation in {"C.UTF-8", "C.UTF8"} else collation
        return {
            "id": str(address),
            "name": name,
            "type": self.resource_type,
            "properties": {
                "charset": charset,
                "collation": kept.properties["collation"] if kept else shown,
            },
        }
