"""Diagnostic settings and Log Analytics workspaces."""

from __future__ import annotations

from typing import Any, Literal, Required

from typing_extensions import TypedDict

from azpg_runtime.arm.schema.types.common import Proxy, Read, Tracked


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
