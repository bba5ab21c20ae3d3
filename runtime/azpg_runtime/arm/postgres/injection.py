"""Servers inside a virtual network: what Azure wants of the network. A local server listens on 127.0.0.1."""

from __future__ import annotations

from azpg.azure.resource_ids import SERVER_TYPE
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.postgres.refusals import invalid
from azpg_runtime.arm.state import Json, State

_SUBNETS = "microsoft.network/virtualnetworks/subnets"
_ZONES = "microsoft.network/privatednszones"


def check_network(state: State, network: Json) -> None:
    """Raises `ArmRefusal` for a subnet or a private zone that a server cannot use."""
    subnet, zone = network.get("delegatedSubnetResourceId"), network.get("privateDnsZoneArmResourceId")
    if subnet:
        _check_subnet(state, subnet)
        if not zone:
            raise invalid(
                "privateDnsZoneArmResourceId", "A server in a virtual network needs a private DNS zone."
            )
    if zone:
        address = Address.parse(zone)
        if address.kind != _ZONES or state.get(address) is None:
            raise invalid("privateDnsZoneArmResourceId", f"There is no private DNS zone '{zone}'.")
        if not address.name.lower().endswith(".postgres.database.azure.com"):
            raise invalid(
                "privateDnsZoneArmResourceId", "The zone's name must end with .postgres.database.azure.com."
            )


def _check_subnet(state: State, subnet: str) -> None:
    address = Address.parse(subnet)
    found = state.get(address) if address.kind == _SUBNETS else None
    if found is None:
        raise invalid("delegatedSubnetResourceId", f"There is no subnet '{subnet}'.")
    services = [
        one.get("properties", {}).get("serviceName", "") for one in found.properties.get("delegations", [])
    ]
    if SERVER_TYPE.lower() not in {one.lower() for one in services}:
        raise invalid(
            "delegatedSubnetResourceId", f"The subnet '{address.name}' is not delegated to {SERVER_TYPE}."
        )
