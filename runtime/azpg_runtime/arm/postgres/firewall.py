"""Firewall rules: checked and kept, not enforced: a local server is reached from this machine only."""

from __future__ import annotations

import ipaddress

from azure.mgmt.postgresqlflexibleservers import models

from azpg.azure.names import FIREWALL_RULE_NAME
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.postgres import refusals
from azpg_runtime.arm.postgres.parts import Part
from azpg_runtime.arm.postgres.servers import Servers
from azpg_runtime.arm.state import Json, Resource


class FirewallRules(Part):
    """Microsoft.DBforPostgreSQL/flexibleServers/firewallRules."""

    resource_type = "Microsoft.DBforPostgreSQL/flexibleServers/firewallRules"
    model = models.FirewallRule
    name_pattern = FIREWALL_RULE_NAME

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.services.operations.verb("firewall.set", self._set)
        self.services.operations.verb("firewall.delete", self._delete)

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        server = self.server(resource.address)
        if server.properties["network"].get("delegatedSubnetResourceId"):
            raise refusals.invalid("firewallRule", "A server in a virtual network has no firewall rules.")
        first, last = (_address(resource.properties, name) for name in ("startIpAddress", "endIpAddress"))
        if first > last:
            raise refusals.invalid("endIpAddress", f"{last} is before {first}.")

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """See `Kind`."""
        return self.begin(call, "firewall.set", resource.address, {"body": resource.body})

    def delete(self, call: Call) -> Answer:
        """See `Kind`."""
        self.check_parent(call.address, for_reading=True)
        existing = self.find(call.address)
        if existing is None:
            return Answer(204)
        return self.begin(call, "firewall.delete", existing.address)

    def _set(self, address: Address, arguments: Json) -> None:
        self.state.put(Resource(arguments["body"]))

    def _delete(self, address: Address, _: Json) -> None:
        self.state.delete(address)


def _address(properties: Json, name: str) -> ipaddress.IPv4Address:
    text = properties.get(name, "")
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise refusals.invalid(name, f"'{text}' is no IPv4 address.") from None
