"""Where logs and metrics go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import monitor, operationalinsights

from azpg_infra.component import Component


@dataclass(frozen=True, slots=True)
class DiagnosticsArgs:
    """What is watched, and where it is kept.

    Attributes:
        workspace_id: a workspace that exists, or '' for a new one.
        retention_days: for a new one.
        watched: resource ids by a short name.
    """

    group: pulumi.Input[str]
    location: str
    workspace_name: str
    workspace_id: str
    retention_days: int
    watched: Mapping[str, pulumi.Input[str]]
    tags: dict[str, str]


class Diagnostics(Component):
    """All logs and metrics of some resources in one Log Analytics workspace."""

    def __init__(self, name: str, args: DiagnosticsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Diagnostics", name, opts)
        self.workspace_id: pulumi.Input[str] = args.workspace_id
        if not args.workspace_id:
            self.workspace_id = operationalinsights.Workspace(
                name,
                resource_group_name=args.group,
                workspace_name=args.workspace_name,
                location=args.location,
                sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
                retention_in_days=args.retention_days,
                tags=args.tags,
                opts=self.child(),
            ).id
        self.settings: list[pulumi.Resource] = [
            monitor.DiagnosticSetting(
                f"{name}-{short}",
                name="azpg",
                resource_uri=resource,
                workspace_id=self.workspace_id,
                logs=[monitor.DiagnosticsLogSettingsArgs(category_group="allLogs", enabled=True)],
                metrics=[monitor.DiagnosticsMetricSettingsArgs(category="AllMetrics", enabled=True)],
                opts=self.child(),
            )
            for short, resource in args.watched.items()
        ]
        self.register_outputs({"workspace_id": self.workspace_id})
