"""Microsoft Entra administrators of a flexible server."""

from __future__ import annotations

import uuid

from azure.mgmt.postgresqlflexibleservers import models

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.parts import Part, refused
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import EntraError
from azpg_runtime.postgres.entra import Principal, PrincipalType


class Administrators(Part):
    """Microsoft.DBforPostgreSQL/flexibleServers/administrators, by their object id."""

    resource_type = "Microsoft.DBforPostgreSQL/flexibleServers/administrators"
    model = models.AdministratorMicrosoftEntraAdd

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.services.operations.verb("administrator.set", self._set)
        self.services.operations.verb("administrator.delete", self._delete)

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        own = resource.properties
        own["objectId"] = resource.address.name
        own.setdefault("principalType", "Unknown")
        if not own.get("tenantId"):
            own["tenantId"] = self.services.tenant

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        try:
            uuid.UUID(resource.address.name)
        except ValueError:
            raise refusals.invalid("objectId", f"'{resource.address.name}' is no GUID.") from None
        if not resource.properties.get("principalName"):
            raise refusals.invalid("principalName", "An administrator needs one: it is the role's name.")
        if resource.properties["tenantId"] != self.services.tenant:
            raise refusals.wrong_tenant(self.services.tenant)
        if self.server(resource.address).properties["authConfig"]["activeDirectoryAuth"] != "Enabled":
            raise refusals.invalid(
                "activeDirectoryAuth",
                "The server takes no Entra logins: set authConfig.activeDirectoryAuth to Enabled first.",
            )

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """See `Kind`."""
        return self.begin(call, "administrator.set", resource.address, {"body": resource.body})

    def delete(self, call: Call) -> Answer:
        """See `Kind`."""
        self.check_parent(call.address, for_reading=True)
        existing = self.find(call.address)
        if existing is None:
            return Answer(204)
        return self.begin(call, "administrator.delete", existing.address)

    def _set(self, address: Address, arguments: Json) -> None:
        resource = Resource(arguments["body"])
        own = resource.properties
        principal = Principal(
            own["objectId"].lower(), own["principalName"], PrincipalType(own["principalType"])
        )
        try:
            self.instance(address).entra.add(principal)
        except EntraError as error:
            raise refused(error) from None
        self.state.put(resource)

    def _delete(self, address: Address, _: Json) -> None:
        self.instance(address).entra.remove(address.name.lower())
        self.state.delete(address)
