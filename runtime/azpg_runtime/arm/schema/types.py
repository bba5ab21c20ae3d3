"""Models of the resource types around servers and accounts, as the REST specifications have them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.fields import READ

Read = Annotated[Any, READ]
Tags = dict[str, str]


class Tracked(TypedDict, total=False):
    """What every resource with a location has."""

    id: Read
    name: Read
    type: Read
    etag: Read
    systemData: Read
    location: Required[str]
    tags: Tags


class Proxy(TypedDict, total=False):
    """What every resource without a location has."""

    id: Read
    name: Read
    type: Read
    etag: Read
    systemData: Read


class SubResource(TypedDict, total=False):
    """A reference to another resource."""

    id: Required[str]


class GroupProperties(TypedDict, total=False):
    """Microsoft.Resources/resourceGroups."""

    provisioningState: Read


class Group(TypedDict, total=False):
    """Microsoft.Resources/resourceGroups."""

    id: Read
    name: Read
    type: Read
    location: Required[str]
    managedBy: str
    tags: Tags
    properties: GroupProperties


class RoleAssignmentProperties(TypedDict, total=False):
    """Microsoft.Authorization/roleAssignments."""

    roleDefinitionId: Required[str]
    principalId: Required[str]
    principalType: Literal["User", "Group", "ServicePrincipal", "ForeignGroup", "Device"]
    description: str
    condition: str
    conditionVersion: str
    delegatedManagedIdentityResourceId: str
    scope: Read
    createdOn: Read
    updatedOn: Read
    createdBy: Read
    updatedBy: Read


class RoleAssignment(Proxy, total=False):
    """Microsoft.Authorization/roleAssignments."""

    properties: Required[RoleAssignmentProperties]


class LockOwner(TypedDict, total=False):
    """An application that may hold a lock."""

    applicationId: str


class LockProperties(TypedDict, total=False):
    """Microsoft.Authorization/locks."""

    level: Required[Literal["CanNotDelete", "ReadOnly", "NotSpecified"]]
    notes: str
    owners: list[LockOwner]


class Lock(Proxy, total=False):
    """Microsoft.Authorization/locks."""

    properties: Required[LockProperties]


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
    networkSecurityGroup: SubResource
    routeTable: SubResource
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


class PrivateEndpointProperties(TypedDict, total=False):
    """Microsoft.Network/privateEndpoints."""

    subnet: Required[SubResource]
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


class Retention(TypedDict, total=False):
    """How long a log is kept."""

    enabled: Required[bool]
    days: Required[int]


class LogSetting(TypedDict, total=False):
    """Which log is sent."""

    category: str
    categoryGroup: str
    enabled: Required[bool]
    retentionPolicy: Retention


class MetricSetting(TypedDict, total=False):
    """Which metric is sent."""

    category: str
    timeGrain: str
    enabled: Required[bool]
    retentionPolicy: Retention


class DiagnosticProperties(TypedDict, total=False):
    """Microsoft.Insights/diagnosticSettings."""

    workspaceId: str
    storageAccountId: str
    serviceBusRuleId: str
    eventHubAuthorizationRuleId: str
    eventHubName: str
    marketplacePartnerId: str
    logAnalyticsDestinationType: str
    logs: list[LogSetting]
    metrics: list[MetricSetting]


class DiagnosticSetting(Proxy, total=False):
    """Microsoft.Insights/diagnosticSettings."""

    properties: Required[DiagnosticProperties]


class WorkspaceSku(TypedDict, total=False):
    """How a workspace is paid for."""

    name: Required[
        Literal[
            "Free",
            "Standard",
            "Premium",
            "PerNode",
            "PerGB2018",
            "Standalone",
            "CapacityReservation",
            "LACluster",
        ]
    ]
    capacityReservationLevel: int
    lastSkuUpdate: Read


class WorkspaceCapping(TypedDict, total=False):
    """How much a workspace takes a day."""

    dailyQuotaGb: float
    quotaNextResetTime: Read
    dataIngestionStatus: Read


class WorkspaceProperties(TypedDict, total=False):
    """Microsoft.OperationalInsights/workspaces."""

    sku: WorkspaceSku
    retentionInDays: int
    workspaceCapping: WorkspaceCapping
    publicNetworkAccessForIngestion: Literal["Enabled", "Disabled", "SecuredByPerimeter"]
    publicNetworkAccessForQuery: Literal["Enabled", "Disabled", "SecuredByPerimeter"]
    forceCmkForQuery: bool
    features: dict[str, Any]
    defaultDataCollectionRuleResourceId: str
    provisioningState: Read
    customerId: Read
    createdDate: Read
    modifiedDate: Read
    privateLinkScopedResources: Read


class Workspace(Tracked, total=False):
    """Microsoft.OperationalInsights/workspaces."""

    properties: WorkspaceProperties
    identity: dict[str, Any]


class IdentityProperties(TypedDict, total=False):
    """Microsoft.ManagedIdentity/userAssignedIdentities."""

    tenantId: Read
    principalId: Read
    clientId: Read
    isolationScope: Literal["None", "Regional"]


class Identity(Tracked, total=False):
    """Microsoft.ManagedIdentity/userAssignedIdentities."""

    properties: IdentityProperties
