"""Flexible servers: what may be asked of them. What is done then is in `local`."""

from __future__ import annotations

import re

from azure.mgmt.postgresqlflexibleservers import models

from azpg.azure.names import SERVER_NAME
from azpg.azure.regions import display_name
from azpg.azure.resource_ids import SERVER_TYPE
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.postgres import properties, refusals
from azpg_runtime.arm.postgres.injection import check_network
from azpg_runtime.arm.postgres.local import PASSING, LocalServers
from azpg_runtime.arm.schema.document import check, hidden
from azpg_runtime.arm.services import Services, not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.postgres.connections import HOST

_HIDDEN = hidden(models.ServerProperties)


class Servers(Kind):
    """Microsoft.DBforPostgreSQL/flexibleServers."""

    resource_type = SERVER_TYPE
    model = models.Server
    patch_model = models.ServerForPatch

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._local = LocalServers(services)

    def renew_trust(self) -> None:
        """Tells every server whose tokens to take now."""
        self._local.renew_trust(super().every())

    # What there is

    def every(self, under: Address | None = None) -> list[Resource]:
        """See `Kind`."""
        there = [self.find(one.address) for one in super().every(under)]
        return [one for one in there if one is not None]

    def find(self, address: Address) -> Resource | None:
        """A server whose local one somebody has removed is gone with it."""
        found = self.state.get(address)
        if found is None or self.services.operations.is_busy(address) or self._local.is_ours(found):
            return found
        self.services.delete(address)
        return None

    def shown(self, resource: Resource) -> Json:
        """With its state and where it listens now."""
        instance = self.services.instance(resource.address)
        own = {**resource.properties, "state": self.state_of(resource)}
        if instance.home.description.exists():
            own["fullyQualifiedDomainName"] = f"{HOST}:{instance.description.tls_port}"
        return resource.body | {"properties": own}

    def state_of(self, resource: Resource) -> str:
        """Ready, Stopped, or what it passes through."""
        verb = self.services.operations.verb_on(resource.address)
        if verb in PASSING:
            return PASSING[verb]
        return "Ready" if self.services.instance(resource.address).running() else "Stopped"

    def check_ready(self, resource: Resource) -> None:
        """Raises `ArmRefusal` for a server that is busy or does not run."""
        if self.services.operations.is_busy(resource.address):
            raise refusals.busy(resource.address.name)
        state = self.state_of(resource)
        if state != "Ready":
            raise refusals.not_ready(resource.address.name, state)

    # Requests

    def placed(self, address: Address) -> Address:
        """See `Kind`. The local server's name must be free, too."""
        if not re.fullmatch(SERVER_NAME, address.name):
            raise refusals.invalid(
                "serverName",
                "Use 3 to 63 lower-case letters, digits and hyphens, not a hyphen first or last.",
            )
        placed = super().placed(address)
        if self.find(placed) is None:
            self._check_name(placed.name)
        return placed

    def is_taken(self, name: str) -> bool:
        """Whether a server or any other local instance has the name."""
        taken = {one.body["name"] for one in self.every()}
        return name in taken or name in self.services.home.instance_names()

    def put(self, call: Call) -> Answer:
        """Creates a server, or changes it: what a PUT leaves out stays as it is."""
        address = self.placed(call.address)
        body = check(self.model, call.body, "create")
        existing = self.find(address)
        if existing is not None:
            # Not of a new server's, but of one that exists already: its visibility is read and update.
            window = (call.body.get("properties") or {}).get("maintenanceWindow")
            changes = check(models.ServerForPatch, {"properties": {"maintenanceWindow": window}}, "update")
            body.setdefault("properties", {}).update(changes["properties"])
        return self._write(call, address, body, existing, replace_assigned=True)

    def patch(self, call: Call) -> Answer:
        """Changes a server."""
        existing = self.existing(call.address)
        return self._write(
            call, existing.address, check(models.ServerForPatch, call.body, "update"), existing
        )

    def _write(
        self,
        call: Call,
        address: Address,
        body: Json,
        existing: Resource | None,
        *,
        replace_assigned: bool = False,
    ) -> Answer:
        wanted = body.setdefault("properties", {})
        properties.check_mode(wanted.get("createMode"))
        password = wanted.get("administratorLoginPassword")
        body["properties"] = {name: one for name, one in wanted.items() if name not in _HIDDEN and one != ""}
        if existing is not None:
            if self.services.operations.is_busy(address):
                raise refusals.busy(address.name)
            body = self.merged(existing, body, replace_assigned=replace_assigned)
        resource = self.composed(address, body, existing)
        properties.check(resource, self.services.settings.profile)
        if wanted.get("authConfig", {}).get("tenantId", "") not in {"", self.services.tenant}:
            raise refusals.wrong_tenant(self.services.tenant)
        if existing is None:
            properties.check_admin(resource.properties, password)
        else:
            properties.check_change(existing, resource)
            self.check_ready(existing)
        check_network(self.state, resource.properties["network"])
        if password is not None:
            properties.check_password(resource.properties.get("administratorLogin"), password)
        scaled = existing is not None and existing.body["sku"] != resource.body["sku"]
        return self.begin(
            call,
            "server.update" if existing else "server.create",
            resource,
            existing,
            {"password": password, "restart": scaled, "before": existing.body if existing else None},
        )

    def merged(self, existing: Resource, body: Json, *, replace_assigned: bool = False) -> Json:
        """See `Kind`. More storage has its own performance tier unless the request names one."""
        storage = body["properties"].get("storage", {})
        merged = super().merged(existing, body, replace_assigned=replace_assigned)
        if "storageSizeGB" in storage and "tier" not in storage:
            merged["properties"]["storage"].pop("tier", None)
        return merged

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        properties.fill(resource.properties)
        resource.body["location"] = display_name(resource.body["location"])
        resource.properties["authConfig"].setdefault("tenantId", "")
        if resource.properties["authConfig"]["activeDirectoryAuth"] == "Enabled":
            resource.properties["authConfig"]["tenantId"] = self.services.tenant

    def delete(self, call: Call) -> Answer:
        """Removes a server with its data."""
        existing = self.find(call.address)
        if existing is None:
            return Answer(204)
        return self.begin(call, "server.delete", existing, existing)

    def restart(self, call: Call) -> Answer:
        """The action of that name."""
        wishes = check(models.RestartParameter, call.body or {}, "create")
        server = self.existing(_of_action(call))
        self.check_ready(server)
        if wishes.get("restartWithFailover") and server.properties["highAvailability"]["mode"] == "Disabled":
            raise refusals.invalid("restartWithFailover", "The server has no high availability.")
        return self.begin(call, "server.restart", server, server)

    def start(self, call: Call) -> Answer:
        """The action of that name."""
        server = self.existing(_of_action(call))
        return self.begin(call, "server.start", server, server)

    def stop(self, call: Call) -> Answer:
        """The action of that name."""
        server = self.existing(_of_action(call))
        return self.begin(call, "server.stop", server, server)

    def begin(
        self, call: Call, verb: str, server: Resource, before: Resource | None, arguments: Json | None = None
    ) -> Answer:
        """Starts an operation on a server, of which there is one at a time; `before` is what was there."""

        def claim() -> None:
            # Others may have come between the checks and this, which nobody can come between.
            if before is None:
                self.placed(server.address)
            kept = self.state.get(server.address)
            if before is not None and kept is None:
                raise not_found(server.address)
            if (kept and kept.body) != (before and before.body):
                raise refusals.busy(server.address.name)
            self.services.managed.fill(server)
            self.state.put(server)

        operation = self.services.operations.start(
            verb,
            server.address,
            arguments=arguments,
            busy=server.address,
            refusal=lambda: refusals.busy(server.address.name),
            prepare=claim,
        )
        return self.services.accepted(call, operation)

    def _check_name(self, name: str) -> None:
        if self.is_taken(name):
            raise ArmRefusal(
                409, "ServerNameAlreadyExists", f"Specified server name '{name}' is already used."
            )

    def discard(self, address: Address) -> None:
        """See `Kind`."""
        self._local.remove(address)


def _of_action(call: Call) -> Address:
    parent = call.address.parent
    assert parent is not None
    return parent
