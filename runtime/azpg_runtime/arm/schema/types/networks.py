"""Virtual networks and their subnets."""

from __future__ import annotations

from typing import Literal, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Read, Reference, SubResource, Tracked


class DelegationProperties(TypedDict, total=False):
    """The service that a subnet is for."""

    serviceName: str
    actions: Read
    provisioningState: Read


class Delegation(TypedDict, total=False):
    """A subnet's delegation."""

    id: Read
    etag: Read
    type: str
    name: str
    properties: DelegationProperties


class ServiceEndpoint(TypedDict, total=False):
    """A service endpoint of a subnet."""

    service: str
    locations: list[str]
    provisioningState: Read


class SubnetProperties(TypedDict, total=False):
    """Microsoft.Network/virtualNetworks/subnets."""

    addressPrefix: str
    addressPrefixes: list[str]
    delegations: list[Delegation]
    serviceEndpoints: list[ServiceEndpoint]
    networkSecurityGroup: Reference
    routeTable: Reference
    natGateway: SubResource
    defaultOutboundAccess: bool
    privateEndpointNetworkPolicies: Literal[
        "Disabled", "Enabled", "NetworkSecurityGroupEnabled", "RouteTableEnabled"
    ]
    privateLinkServiceNetworkPolicies: Literal["Disabled", "Enabled"]
    provisioningState: Read
    purpose: Read
    privateEndpoints: Read
    ipConfigurations: Read


class Subnet(TypedDict, total=False):
    """Microsoft.Network/virtualNetworks/subnets."""

    id: Read
    etag: Read
    type: Read
    name: str
    properties: SubnetProperties


class AddressSpace(TypedDict, total=False):
    """The ranges of a network."""

    addressPrefixes: list[str]


class DhcpOptions(TypedDict, total=False):
    """The name servers of a network."""

    dnsServers: list[str]


class VirtualNetworkProperties(TypedDict, total=False):
    """Microsoft.Network/virtualNetworks."""

    addressSpace: Required[AddressSpace]
    dhcpOptions: DhcpOptions
    subnets: list[Subnet]
    enableDdosProtection: bool
    enableVmProtection: bool
    flowTimeoutInMinutes: int
    privateEndpointVNetPolicies: Literal["Disabled", "Basic"]
    provisioningState: Read
    resourceGuid: Read
    virtualNetworkPeerings: Read


class VirtualNetwork(Tracked, total=False):
    """Microsoft.Network/virtualNetworks."""

    properties: Required[VirtualNetworkProperties]
