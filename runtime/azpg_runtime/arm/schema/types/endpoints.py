"""Private endpoints and the zones that they register in."""

from __future__ import annotations

from typing import Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Read, Tracked
from azpg_runtime.arm.schema.types.networks import SubnetProperties


class ConnectionState(TypedDict, total=False):
    """How a private link connection stands."""

    status: str
    description: str
    actionsRequired: str


class LinkConnectionProperties(TypedDict, total=False):
    """What a private endpoint leads to."""

    privateLinkServiceId: Required[str]
    groupIds: list[str]
    requestMessage: str
    privateLinkServiceConnectionState: ConnectionState
    provisioningState: Read


class LinkConnection(TypedDict, total=False):
    """A connection of a private endpoint."""

    id: Read
    etag: Read
    type: Read
    name: str
    properties: LinkConnectionProperties


class SubnetReference(TypedDict, total=False):
    """A subnet, by its id; what else is said of it must be what a subnet can have, and is not taken."""

    id: Required[str]
    etag: Read
    type: Read
    name: str
    properties: SubnetProperties


class PrivateEndpointProperties(TypedDict, total=False):
    """Microsoft.Network/privateEndpoints."""

    subnet: Required[SubnetReference]
    privateLinkServiceConnections: list[LinkConnection]
    manualPrivateLinkServiceConnections: list[LinkConnection]
    customNetworkInterfaceName: str
    customDnsConfigs: Read
    networkInterfaces: Read
    provisioningState: Read


class PrivateEndpoint(Tracked, total=False):
    """Microsoft.Network/privateEndpoints."""

    properties: Required[PrivateEndpointProperties]


class ZoneConfigProperties(TypedDict, total=False):
    """Which zone a private endpoint registers in."""

    privateDnsZoneId: Required[str]
    recordSets: Read


class ZoneConfig(TypedDict, total=False):
    """One zone of a zone group."""

    name: Required[str]
    properties: ZoneConfigProperties


class ZoneGroupProperties(TypedDict, total=False):
    """Microsoft.Network/privateEndpoints/privateDnsZoneGroups."""

    privateDnsZoneConfigs: list[ZoneConfig]
    provisioningState: Read


class ZoneGroup(TypedDict, total=False):
    """Microsoft.Network/privateEndpoints/privateDnsZoneGroups."""

    id: Read
    etag: Read
    type: Read
    name: str
    properties: ZoneGroupProperties
