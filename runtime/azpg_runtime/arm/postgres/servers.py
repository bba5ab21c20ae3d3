"""Flexible servers. Each is the local server of its name: made, changed, stopped and deleted with it."""

from __future__ import annotations

import os
import re

from azure.mgmt.postgresqlflexibleservers import models

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.postgres import properties, refusals
from azpg_runtime.arm.postgres.injection import check_network
from azpg_runtime.arm.regions import display_name
from azpg_runtime.arm.schema.document import check, hidden
from azpg_runtime.arm.services import Services, not_found
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal, InstanceError
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.postgres.connections import HOST
from azpg_runtime.postgres.instance import Instance, Wishes

_HIDDEN = hidden(models.ServerProperties)
_ADMIN_WITHOUT_PASSWORDS = "pgadmin"
_STATE = "state"
"""In a resource's private part: the state it passes through while an operation works on it."""


class Servers(Kind):
    """Microsoft.DBforPostgreSQL/flexibleServers."""

    resource_type = "Microsoft.DBforPostgreSQL/flexibleServers"
    model = models.Server
    patch_model = models.ServerForPatch

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        operations = services.operations
        operations.verb("server.create", self._create, undo=self._remove)
        operations.verb("server.update", self._update, undo=self._restore)
        operations.verb("server.delete", self._remove)
        operations.verb("server.restart", self._restart)
        operations.verb("server.start", self._start)
        operations.verb("server.stop", self._stop)

    # What there is

    def every(self, under: Address | None = None) -> list[Resource]:
        """See `Kind`."""
        there = [self.find(one.address) for one in super().every(under)]
        return [one for one in there if one is not None]

    def find(self, address: Address) -> Resource | None:
        """A server whose local one somebody has removed is gone with it."""
        found = self.state.get(address)
        if found is None or self.services.operations.is_busy(address) or self._is_ours(found):
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
        if self.services.operations.is_busy(resource.address) and _STATE in resource.private:
            return str(resource.private[_STATE])
        return "Ready" if self.services.instance(resource.address).running() else "Stopped"

    def check_ready(self, resource: Resource) -> None:
        """Raises `ArmRefusal` for a server that is busy or does not run."""
        if self.services.operations.is_busy(resource.address):
            raise refusals.busy(resource.address.name)
        state = self.state_of(resource)
        if state != "Ready":
            raise refusals.not_ready(resource.address.name, state)

    def _is_ours(self, resource: Resource) -> bool:
        home = self.services.instance(resource.address).home
        try:
            return home.description.exists() and home.resource.read_text() == resource.body["id"]
        except FileNotFoundError:
            return False

    # Requests

    def placed(self, address: Address) -> Address:
        """See `Kind`. The local server's name must be free, too."""
        if not re.fullmatch(properties.SERVER_NAME, address.name):
            raise refusals.invalid(
                "serverName",
                "Use 3 to 63 lower-case letters, digits and hyphens, not a hyphen first or last.",
            )
        placed = super().placed(address)
        if self.find(placed) is None and self.is_taken(placed.name):
            raise ArmRefusal(
                409, "ServerNameAlreadyExists", f"Specified server name '{placed.name}' is already used."
            )
        return placed

    def is_taken(self, name: str) -> bool:
        """Whether a server or any other local instance has the name."""
        taken = {one.body["name"] for one in self.every()}
        return name in taken or name in self.services.home.instance_names()

    def put(self, call: Call) -> Answer:
        """Creates a server, or changes it: what a PUT leaves out stays as it is."""
        address = self.placed(call.address)
        body = check(self.model, call.body, "create")
        return self._write(call, address, body, self.find(address))

    def patch(self, call: Call) -> Answer:
        """Changes a server."""
        existing = self.existing(call.address)
        return self._write(
            call, existing.address, check(models.ServerForPatch, call.body, "update"), existing
        )

    def _write(self, call: Call, address: Address, body: Json, existing: Resource | None) -> Answer:
        wanted = body.setdefault("properties", {})
        properties.check_mode(wanted.get("createMode"))
        password = wanted.get("administratorLoginPassword")
        body["properties"] = {name: one for name, one in wanted.items() if name not in _HIDDEN and one != ""}
        if existing is not None:
            if self.services.operations.is_busy(address):
                raise refusals.busy(address.name)
            body = self.merged(existing, body)
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
        resource.private[_STATE] = "Updating" if existing else "Provisioning"
        scaled = existing is not None and existing.body["sku"] != resource.body["sku"]
        return self.begin(
            call,
            "server.update" if existing else "server.create",
            resource,
            existing,
            {"password": password, "restart": scaled, "before": existing.body if existing else None},
        )

    def merged(self, existing: Resource, body: Json) -> Json:
        """See `Kind`. More storage has its own performance tier unless the request names one."""
        storage = body["properties"].get("storage", {})
        merged = super().merged(existing, body)
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
        existing.private[_STATE] = "Dropping"
        return self.begin(call, "server.delete", existing, existing)

    def restart(self, call: Call) -> Answer:
        """The action of that name."""
        wishes = check(models.RestartParameter, call.body or {}, "create")
        server = self.existing(_of_action(call))
        self.check_ready(server)
        if wishes.get("restartWithFailover") and server.properties["highAvailability"]["mode"] == "Disabled":
            raise refusals.invalid("restartWithFailover", "The server has no high availability.")
        server.private[_STATE] = "Restarting"
        return self.begin(call, "server.restart", server, server)

    def start(self, call: Call) -> Answer:
        """The action of that name."""
        server = self.existing(_of_action(call))
        server.private[_STATE] = "Starting"
        return self.begin(call, "server.start", server, server)

    def stop(self, call: Call) -> Answer:
        """The action of that name."""
        server = self.existing(_of_action(call))
        server.private[_STATE] = "Stopping"
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

    # Operations

    def _instance(self, server: Address) -> tuple[Resource, Instance]:
        return self.services.existing(server), self.services.instance(server)

    def _create(self, server: Address, arguments: Json) -> None:
        resource, instance = self._instance(server)
        self.services.home.create()
        make_folder(instance.home.root, 0o711 if os.geteuid() == 0 else 0o700)
        write_atomically(instance.home.resource, str(resource.body["id"]))
        own = resource.properties
        instance.up(
            Wishes(
                major=int(own["version"]),
                admin=own.get("administratorLogin") or _ADMIN_WITHOUT_PASSWORDS,
                admin_password=arguments["password"],
                location=resource.body["location"],
                sku=resource.body["sku"]["name"],
                profile=self.services.settings.profile,
                created_newly=True,
            )
        )
        self._allow(resource, instance)
        self._note_version(resource, instance)

    def _update(self, server: Address, arguments: Json) -> None:
        resource, instance = self._instance(server)
        sku = resource.body["sku"]["name"]
        instance.up(Wishes(sku=sku, admin_password=arguments["password"]))
        self._allow(resource, instance)
        if arguments["restart"]:  # other compute is another machine
            instance.restart()

    def _allow(self, resource: Resource, instance: Instance) -> None:
        """Lets people log in as the server's authConfig says."""
        wanted = resource.properties["authConfig"]
        entra = wanted["activeDirectoryAuth"] == "Enabled"
        instance.entra.allow(
            password=wanted["passwordAuth"] == "Enabled",
            trust=self.services.identity.issuer.trust if entra else None,
        )

    def _restore(self, server: Address, arguments: Json) -> None:
        """A change that failed is none."""
        resource = self.services.existing(server)
        resource.body = arguments["before"]
        self.state.put(resource)

    def _restart(self, server: Address, _: Json) -> None:
        self._instance(server)[1].restart()

    def _start(self, server: Address, _: Json) -> None:
        resource, instance = self._instance(server)
        instance.up()
        self._note_version(resource, instance)

    def _stop(self, server: Address, _: Json) -> None:
        self._instance(server)[1].down()

    def _note_version(self, resource: Resource, instance: Instance) -> None:
        """An update of azpg may have brought another minor version."""
        resource.properties["minorVersion"] = instance.status().postgres_version.partition(".")[2]
        self.state.put(resource)

    def _remove(self, server: Address, _: Json) -> None:
        self.discard(server)

    def discard(self, server: Address) -> None:
        """Removes a server now, whole or half made."""
        resource = self.state.get(server)
        instance = self.services.instance(server)
        if resource is not None and instance.home.resource.is_file():
            if instance.home.resource.read_text() != resource.body["id"]:
                raise InstanceError(f"the local server {instance.name!r} belongs to another resource.")
            instance.discard()
        self.services.delete(server)


def _of_action(call: Call) -> Address:
    parent = call.address.parent
    assert parent is not None
    return parent
