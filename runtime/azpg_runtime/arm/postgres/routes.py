"""Where everything of Microsoft.DBforPostgreSQL is."""

from __future__ import annotations

from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.postgres.administrators import Administrators
from azpg_runtime.arm.postgres.capabilities import Capabilities
from azpg_runtime.arm.postgres.configurations import Configurations
from azpg_runtime.arm.postgres.databases import Databases
from azpg_runtime.arm.postgres.firewall import FirewallRules
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.router import Router
from azpg_runtime.arm.services import Services, not_found

_NAMESPACE = "Microsoft.DBforPostgreSQL"
_ALWAYS_EMPTY = (
    "replicas",
    "logFiles",
    "virtualendpoints",
    "backups",
    "privateEndpointConnections",
    "privateLinkResources",
)


def add_postgres(router: Router, services: Services) -> None:
    """Adds flexible servers with all their parts."""
    servers = Servers(services)
    router.add(servers)
    router.on_start(servers.renew_trust)
    for part in (Configurations, Databases, FirewallRules, Administrators):
        router.add(part(servers))
    for action in ("restart", "start", "stop"):
        router.on("POST", f"{servers.resource_type}/{action}", getattr(servers, action))
    capabilities = Capabilities(servers)
    locations = f"{_NAMESPACE}/locations"
    router.on("GET", f"{locations}/capabilities", capabilities.of_location)
    router.on("GET", f"{servers.resource_type}/capabilities", capabilities.of_server)
    router.on("GET", f"{locations}/resourceType/usages", capabilities.usages)
    router.on_question(f"{_NAMESPACE}/checkNameAvailability", capabilities.check_name)
    router.on_question(f"{locations}/checkNameAvailability", capabilities.check_name)
    router.on_question(f"{_NAMESPACE}/getPrivateDnsZoneSuffix", capabilities.zone_suffix)
    router.on_question(f"{locations}/checkVirtualNetworkSubnetUsage", capabilities.subnet_usage)

    def nothing(call: Call) -> Answer:
        assert call.address.parent is not None
        if servers.find(call.address.parent) is None:
            raise not_found(call.address.parent)
        if call.address.is_resource:
            raise not_found(call.address)
        return listed([])

    for name in _ALWAYS_EMPTY:
        router.on("GET", f"{servers.resource_type}/{name}", nothing)
