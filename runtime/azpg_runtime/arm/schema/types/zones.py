"""Private DNS zones and the networks that know them."""

from __future__ import annotations

from typing import Literal, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Read, SubResource, Tracked


class ZoneProperties(TypedDict, total=False):
    """Microsoft.Network/privateDnsZones."""

    maxNumberOfRecordSets: Read
    numberOfRecordSets: Read
    maxNumberOfVirtualNetworkLinks: Read
    numberOfVirtualNetworkLinks: Read
    maxNumberOfVirtualNetworkLinksWithRegistration: Read
    numberOfVirtualNetworkLinksWithRegistration: Read
    provisioningState: Read
    internalId: Read


class Zone(Tracked, total=False):
    """Microsoft.Network/privateDnsZones."""

    properties: ZoneProperties


class ZoneLinkProperties(TypedDict, total=False):
    """Microsoft.Network/privateDnsZones/virtualNetworkLinks."""

    virtualNetwork: Required[SubResource]
    registrationEnabled: bool
    resolutionPolicy: Literal["Default", "NxDomainRedirect"]
    virtualNetworkLinkState: Read
    provisioningState: Read


class ZoneLink(Tracked, total=False):
    """Microsoft.Network/privateDnsZones/virtualNetworkLinks."""

    properties: Required[ZoneLinkProperties]
