"""The subscription, its tenant, and the resource providers, all of which are registered from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azpg.azure.regions import REGIONS
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.state import Json
from azpg_runtime.errors import ArmRefusal

if TYPE_CHECKING:
    from azpg_runtime.arm.router import Router


class Providers:
    """What may be asked about the subscription and its providers."""

    def __init__(self, services: Services, router: Router) -> None:
        self._services = services
        self._router = router

    def subscriptions(self, call: Call) -> Answer:
        """The only one, by its id or as a list."""
        found = self._subscription()
        return Answer(body=found) if call.address.is_resource else listed([found])

    def tenants(self, call: Call) -> Answer:
        """The only one."""
        tenant = self._services.tenant
        return listed([{"id": f"/tenants/{tenant}", "tenantId": tenant, "displayName": "azpg local twin"}])

    def locations(self, call: Call) -> Answer:
        """The regions."""
        scope = f"/subscriptions/{call.address.subscription}/locations"
        return listed(
            [
                {"id": f"{scope}/{name}", "name": name, "displayName": shown, "regionalDisplayName": shown}
                for name, shown in REGIONS.items()
            ]
        )

    def listing(self, call: Call) -> Answer:
        """All providers."""
        return listed([self._provider(call, one) for one in self._router.namespaces()])

    def get(self, call: Call) -> Answer:
        """One provider; also the answer to registering it."""
        wanted = call.address.namespace.lower()
        for one in self._router.namespaces():
            if one.lower() == wanted:
                return Answer(body=self._provider(call, one))
        known = ", ".join(self._router.namespaces())
        raise ArmRefusal(
            404,
            "InvalidResourceNamespace",
            f"The resource namespace '{call.address.namespace}' is invalid. The local ARM twin has {known}.",
        )

    def _subscription(self) -> Json:
        id_ = self._services.state.fact("subscription")
        return {
            "id": f"/subscriptions/{id_}",
            "subscriptionId": id_,
            "tenantId": self._services.tenant,
            "displayName": "azpg local twin",
            "state": "Enabled",
        }

    def _provider(self, call: Call, namespace: str) -> Json:
        types = self._router.types(namespace)
        return {
            "id": f"/subscriptions/{call.address.subscription}/providers/{namespace}",
            "namespace": namespace,
            "registrationState": "Registered",
            "registrationPolicy": "RegistrationRequired",
            "resourceTypes": [
                {"resourceType": one, "locations": list(REGIONS.values()), "apiVersions": []} for one in types
            ],
        }
