"""What all kinds of resources share in the ARM twin's process."""

from __future__ import annotations

from dataclasses import dataclass

from azpg.azure.regions import short_name
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.identities import USER_ASSIGNED, ManagedIdentities
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.arm.operation import Operation
from azpg_runtime.arm.operations import RETRY_HEADERS, Operations
from azpg_runtime.arm.settings import Settings
from azpg_runtime.arm.state import Json, Resource, State
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance


@dataclass(frozen=True, slots=True)
class Services:
    """The state, the operations, and the local servers."""

    home: Home
    settings: Settings
    state: State
    operations: Operations
    identity: IdentityService

    @property
    def tenant(self) -> str:
        """The one tenant's id."""
        return self.identity.identities.tenant_id

    @property
    def managed(self) -> ManagedIdentities:
        """The identities of resources."""
        return ManagedIdentities(self.state, self.identity.identities)

    def delete(self, address: Address) -> bool:
        """Forgets a resource with its parts, and the identities of them all. Returns whether it was there."""
        found = self.state.get(address)
        for one in [*([found] if found else []), *self.state.below(address)]:
            if "identity" in one.body or one.body["type"] == USER_ASSIGNED:
                self.managed.remove(one)
        return self.state.delete(address)

    def instance(self, server: Address) -> Instance:
        """The local server that a flexible server stands for."""
        return Instance(server.names[0].lower(), home=self.home)

    def existing(self, address: Address) -> Resource:
        """A stored resource. Raises `ArmRefusal` where there is none."""
        found = self.state.get(address)
        if found is None:
            raise not_found(address)
        return found

    def accepted(
        self, call: Call, operation: Operation, *, status: int = 202, body: Json | None = None
    ) -> Answer:
        """The answer to a request that has started an operation: where to ask how it goes."""
        place = f"/subscriptions/{call.address.subscription}/providers/{call.address.namespace}"
        place = f"{place}/locations/{self._region(call.address)}"
        headers = {
            "Azure-AsyncOperation": call.link(f"{place}/azureAsyncOperation/{operation.id}"),
            "Location": call.link(f"{place}/operationResults/{operation.id}"),
            **RETRY_HEADERS,
        }
        return Answer(status, body, headers)

    def _region(self, address: Address) -> str:
        """The region of a resource, or of what it is a part of."""
        here: Address | None = address
        while here is not None:
            found = self.state.get(here)
            if found is not None and "location" in found.body:
                return short_name(found.body["location"])
            here = here.parent
        return self.settings.location


def not_found(address: Address) -> ArmRefusal:
    """The answer where there is no such resource."""
    group = address.group
    where = f" under resource group '{group.name}'" if group else ""
    what = "/".join(
        [
            address.namespace,
            *(part for pair in zip(address.types, address.names, strict=False) for part in pair),
        ]
    )
    return ArmRefusal(
        404,
        "ResourceNotFound",
        f"The Resource '{what}'{where} was not found. For more details go to https://aka.ms/ARMResourceNotFoundFix",
    )
