"""Types that are documents: kept, checked against their model, and completed with what Azure would say."""

from __future__ import annotations

import uuid

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.identities import USER_ASSIGNED
from azpg_runtime.arm.kinds.kind import Kind
from azpg_runtime.arm.locks import LOCKS
from azpg_runtime.arm.schema.types import authorization, endpoints, identities, monitoring, zones
from azpg_runtime.arm.state import Resource
from azpg_runtime.errors import ArmRefusal


class Document(Kind):
    """A document with a provisioning state, which is always Succeeded."""

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        resource.properties["provisioningState"] = "Succeeded"

    def kept(self, resource: Resource, name: str) -> str:
        """An id of the resource that is made once and answered as a property."""
        found: str = resource.private.setdefault(name, str(uuid.uuid4()))
        resource.properties[name] = found
        return found


class PrivateEndpoint(Document):
    """A way into a service from a network."""

    resource_type = "Microsoft.Network/privateEndpoints"
    model = endpoints.PrivateEndpoint
    etags = True

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`. The subnet is answered by its id, whatever else was said of it."""
        super().defaults(resource, existing)
        subnet = resource.properties["subnet"]
        resource.properties["subnet"] = {"id": subnet["id"]}


class ZoneGroup(Document):
    """The zones that a private endpoint is registered in."""

    resource_type = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"
    model = endpoints.ZoneGroup
    etags = True


class Zone(Document):
    """A private DNS zone."""

    resource_type = "Microsoft.Network/privateDnsZones"
    model = zones.Zone
    etags = True

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        super().defaults(resource, existing)
        links = self.state.all_of(ZoneLink.resource_type.lower(), resource.address)
        resource.properties.update(
            {
                "maxNumberOfRecordSets": 25000,
                "numberOfRecordSets": 1,
                "maxNumberOfVirtualNetworkLinks": 1000,
                "numberOfVirtualNetworkLinks": len(links),
                "maxNumberOfVirtualNetworkLinksWithRegistration": 100,
                "numberOfVirtualNetworkLinksWithRegistration": 0,
            }
        )

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        check_global(resource)

    def validate_deletion(self, existing: Resource) -> None:
        """See `Kind`."""
        if self.state.all_of(ZoneLink.resource_type.lower(), existing.address):
            raise ArmRefusal(
                409,
                "CannotDeleteResource",
                f"Cannot delete the private DNS zone '{existing.address.name}' while virtual networks are "
                "linked to it. Delete its virtualNetworkLinks first.",
            )


class ZoneLink(Document):
    """A network in which a zone is known."""

    resource_type = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
    model = zones.ZoneLink
    etags = True

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        super().defaults(resource, existing)
        resource.properties["virtualNetworkLinkState"] = "Completed"
        resource.properties.setdefault("registrationEnabled", False)

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        check_global(resource)
        network = resource.properties["virtualNetwork"]["id"]
        if self.state.get(Address.parse(network)) is None:
            raise ArmRefusal(404, "ResourceNotFound", f"The virtual network '{network}' was not found.")


class Lock(Kind):
    """What keeps a scope from being changed or deleted; see `arm.locks`."""

    resource_type = LOCKS
    model = authorization.Lock


class DiagnosticSetting(Kind):
    """Where a resource's logs go."""

    resource_type = "Microsoft.Insights/diagnosticSettings"
    model = monitoring.DiagnosticSetting
    created = 200

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        targets = ("workspaceId", "storageAccountId", "eventHubAuthorizationRuleId", "marketplacePartnerId")
        if not any(resource.properties.get(one) for one in targets):
            raise ArmRefusal(
                400,
                "BadRequest",
                f"A diagnostic setting needs somewhere to send to: one of {', '.join(targets)}.",
            )
        for log in resource.properties.get("logs", []):
            if bool(log.get("category")) == bool(log.get("categoryGroup")):
                raise ArmRefusal(
                    400, "BadRequest", "Each log names either its category or its categoryGroup."
                )


class Workspace(Document):
    """A Log Analytics workspace."""

    resource_type = "Microsoft.OperationalInsights/workspaces"
    model = monitoring.Workspace
    name_pattern = r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]"

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        super().defaults(resource, existing)
        resource.properties.setdefault("sku", {"name": "PerGB2018"})
        resource.properties.setdefault("retentionInDays", 30)
        self.kept(resource, "customerId")


class UserAssignedIdentity(Kind):
    """A managed identity of its own."""

    resource_type = USER_ASSIGNED
    model = identities.Identity

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        resource.properties.update(self.services.managed.own(resource))


def check_global(resource: Resource) -> None:
    """Raises `ArmRefusal` for a location that is not Global."""
    if str(resource.body["location"]).lower() != "global":
        raise ArmRefusal(
            400,
            "LocationNotAvailableForResourceType",
            f"The location '{resource.body['location']}' is not available for resource type "
            f"'{resource.body['type']}'. The only one is 'global'.",
        )
