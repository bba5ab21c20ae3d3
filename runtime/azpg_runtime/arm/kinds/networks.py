"""Virtual networks and their subnets, which are both parts of the network's document and resources."""

from __future__ import annotations

import ipaddress
from typing import Any

from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.kinds.documents import Document
from azpg_runtime.arm.schema.types import networks
from azpg_runtime.arm.state import Json, Resource
from azpg_runtime.errors import ArmRefusal

_SUBNETS = "Microsoft.Network/virtualNetworks/subnets"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class VirtualNetwork(Document):
    """A network."""

    resource_type = "Microsoft.Network/virtualNetworks"
    model = networks.VirtualNetwork
    etags = True

    def defaults(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        super().defaults(resource, existing)
        self.kept(resource, "resourceGuid")

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        if not resource.properties["addressSpace"].get("addressPrefixes"):
            raise ArmRefusal(
                400, "InvalidAddressSpace", "A virtual network needs an addressSpace with addressPrefixes."
            )
        space = _ranges(resource.properties["addressSpace"]["addressPrefixes"])
        for subnet in resource.properties.get("subnets", []):
            if not subnet.get("name"):
                raise ArmRefusal(
                    400, "InvalidRequestFormat", "Each subnet of a virtual network needs a name."
                )
            _check_inside(subnet, space)

    def store(self, call: Call, resource: Resource, existing: Resource | None) -> Answer:
        """Subnets that the request names become resources; named without any, they stay as they are."""
        wanted = resource.properties.pop("subnets", None)
        with self.state.changing():
            self.state.put(resource)
            if wanted is not None:
                names = {one["name"].lower() for one in wanted}
                for one in self.state.all_of(_SUBNETS.lower(), resource.address):
                    if one.body["name"].lower() not in names:
                        self.state.delete(one.address)
                for one in wanted:
                    id_ = f"{resource.body['id']}/subnets/{one['name']}"
                    self.state.put(
                        Resource(one | {"id": id_, "type": _SUBNETS, "etag": resource.body["etag"]})
                    )
        return Answer(200 if existing else self.created, self.shown(resource))

    def shown(self, resource: Resource) -> Json:
        """With its subnets."""
        subnets = [one.body for one in self.state.all_of(_SUBNETS.lower(), resource.address)]
        return resource.body | {"properties": resource.properties | {"subnets": subnets}}


class Subnet(Document):
    """A part of a network."""

    resource_type = _SUBNETS
    model = networks.Subnet
    etags = True

    def validate(self, resource: Resource, existing: Resource | None) -> None:
        """See `Kind`."""
        parent = resource.address.parent
        network = self.state.get(parent) if parent else None
        if network is None:
            return
        _check_inside(resource.body, _ranges(network.properties["addressSpace"]["addressPrefixes"]))
        mine = _prefixes(resource.body)
        for other in self.state.all_of(_SUBNETS.lower(), parent):
            if other.address.key != resource.address.key:
                theirs = _ranges(_prefixes(other.body))
                if any(
                    one.overlaps(two) for one in _ranges(mine) for two in theirs if one.version == two.version
                ):
                    raise ArmRefusal(
                        400,
                        "NetcfgSubnetRangesOverlap",
                        f"Subnet '{resource.body['name']}' is not valid because its IP address range "
                        f"overlaps with that of subnet '{other.body['name']}'.",
                    )


def _prefixes(subnet: Json) -> list[str]:
    properties = subnet.get("properties", {})
    single = properties.get("addressPrefix")
    found: list[str] = [single] if single else list(properties.get("addressPrefixes") or [])
    if not found:
        raise ArmRefusal(
            400,
            "InvalidRequestFormat",
            f"Subnet '{subnet['name']}' needs an addressPrefix or addressPrefixes.",
        )
    return found


def _ranges(prefixes: list[str]) -> list[_Network]:
    try:
        return [ipaddress.ip_network(one) for one in prefixes]
    except ValueError as error:
        raise ArmRefusal(400, "InvalidCIDRNotation", f"The address prefix is not valid: {error}.") from None


def _check_inside(subnet: Json, space: list[_Network]) -> None:
    for one in _ranges(_prefixes(subnet)):
        if not any(_holds(whole, one) for whole in space):
            raise ArmRefusal(
                400,
                "NetcfgInvalidSubnet",
                f"Subnet '{subnet['name']}' is not valid because its IP address range {one} is outside the "
                f"virtual network's, {', '.join(map(str, space))}.",
            )


def _holds(whole: Any, part: Any) -> bool:
    return bool(whole.version == part.version and part.subnet_of(whole))
