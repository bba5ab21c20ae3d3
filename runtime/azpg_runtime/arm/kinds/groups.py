"""Resource groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azpg.azure.regions import is_known, short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.kinds.kind import Kind, being_deleted, check_stays, no_region
from azpg_runtime.arm.operations import RETRY_HEADERS
from azpg_runtime.arm.schema.types import groups
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal

if TYPE_CHECKING:
    from azpg_runtime.arm.router import Router

KIND = "subscriptions/resourcegroups"


class Groups(Kind):
    """What resources lie in, and go with."""

    resource_type = "Microsoft.Resources/resourceGroups"
    model = groups.Group
    name_pattern = r"[\w().-]{0,89}[\w()-]"

    def __init__(self, services: Services, router: Router) -> None:
        super().__init__(services)
        self._router = router
        services.operations.verb("group.delete", self._delete, undo=self._stay, waits=True)

    def spelled(self, address: Address) -> Address:
        """See `Kind`."""
        return Address(None, "", ("subscriptions", "resourceGroups"), address.names)

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        resource.properties["provisioningState"] = "Succeeded"
        resource.body["location"] = short_name(str(resource.body["location"]))

    def check_region(self, location: str) -> None:
        """See `Kind`. A group is in a region, never global."""
        if not is_known(location):
            raise no_region(location, "resource group")

    def check_location(self, existing: Resource, body: Json) -> None:
        """See `Kind`."""
        old, new = existing.body["location"], short_name(str(body["location"]))
        if old != new:
            raise ArmRefusal(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{new}'. The Resource group already exists in location "
                f"'{old}'.",
            )

    def existing(self, address: Address) -> Resource:
        """See `Kind`."""
        found = self.state.get(address)
        if found is None:
            raise ArmRefusal(
                404, "ResourceGroupNotFound", f"Resource group '{address.name}' could not be found."
            )
        return found

    def listing(self, call: Call) -> Answer:
        """All groups."""
        return listed([one.body for one in self.state.all_of(KIND)])

    def put(self, call: Call) -> Answer:
        """See `Kind`."""
        with self.state.changing():
            check_stays(self.state.get(call.address))
            return super().put(call)

    def resources(self, call: Call) -> Answer:
        """All resources of a group or of the subscription that are no part of another."""
        parent = call.address.parent
        if parent is not None and parent.kind == KIND:
            self.existing(parent)
        found = [one for one in self.state.below(parent or call.address) if len(one.address.types) == 1]
        short = ("id", "name", "type", "location", "tags", "kind", "sku", "identity")
        return listed([{name: one.body[name] for name in short if name in one.body} for one in found])

    def delete(self, call: Call) -> Answer:
        """Removes a group with all that lies in it."""
        with self.state.changing():
            group = self.existing(call.address)
            operation = self.services.operations.start(
                "group.delete",
                group.address,
                busy=group.address,
                refusal=lambda: being_deleted(group),
                prepare=lambda: self.set_state(group.address, "Deleting"),
            )
        path = f"/subscriptions/{call.address.subscription}/operationresults/{operation.id}"
        return Answer(202, headers={"Location": call.link(path), **RETRY_HEADERS})

    def _stay(self, group: Address, _: Json) -> None:
        self.set_state(group, "Succeeded")

    def _delete(self, group: Address, _: Json) -> None:
        for one in self.state.below(group):
            if len(one.address.types) == 1 and one.address.scope and one.address.scope.key == group.key:
                with self.services.operations.holding(one.address, verb="server.delete"):
                    self._router.remove(one.address)
        self.services.delete(group)
