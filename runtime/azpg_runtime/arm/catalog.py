"""All that the ARM twin has, put together."""

from __future__ import annotations

from azpg_runtime.arm.cognitive.routes import add_cognitive
from azpg_runtime.arm.kinds import documents
from azpg_runtime.arm.kinds.groups import KIND as GROUPS
from azpg_runtime.arm.kinds.groups import Groups
from azpg_runtime.arm.kinds.networks import Subnet, VirtualNetwork
from azpg_runtime.arm.kinds.polling import Polling
from azpg_runtime.arm.kinds.providers import Providers
from azpg_runtime.arm.kinds.roles import RoleAssignments
from azpg_runtime.arm.postgres.routes import add_postgres
from azpg_runtime.arm.router import Router
from azpg_runtime.arm.services import Services

_DOCUMENTS = (
    documents.PrivateEndpoint,
    documents.ZoneGroup,
    documents.Zone,
    documents.ZoneLink,
    documents.Lock,
    documents.DiagnosticSetting,
    documents.Workspace,
    documents.UserAssignedIdentity,
    VirtualNetwork,
    Subnet,
    RoleAssignments,
)


def build(services: Services) -> Router:
    """A router over everything."""
    router = Router(services.state)
    groups, providers = Groups(services, router), Providers(services, router)
    router.add(groups, as_=GROUPS)
    for type_ in ("subscriptions/resources", f"{GROUPS}/resources"):
        router.on("GET", type_, groups.resources)
    router.on("GET", "subscriptions", providers.subscriptions)
    router.on("GET", "tenants", providers.tenants)
    router.on("GET", "subscriptions/locations", providers.locations)
    router.on("GET", "subscriptions/providers", providers.listing)
    for kind in _DOCUMENTS:
        router.add(kind(services))
    add_postgres(router, services)
    add_cognitive(router, services)
    polling = Polling(services.operations, services.state)
    router.on("GET", "subscriptions/operationresults", polling.result)
    for namespace in router.namespaces():
        router.on("GET", namespace, providers.get)
        router.on("POST", f"{namespace}/register", providers.get)
        router.on("GET", f"{namespace}/locations/azureAsyncOperation", polling.status)
        router.on("GET", f"{namespace}/locations/operationResults", polling.result)
    return router
