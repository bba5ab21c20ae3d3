"""Who may reach the server, and who administers it: firewall rules and Microsoft Entra administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import dbforpostgresql as azure

from azpg_infra.component import Component
from azpg_infra.settings import EntraAdmin, FirewallRule


@dataclass(frozen=True, slots=True)
class FirewallArgs:
    """The rules of a server, by name; `after` is what must be done before the first one."""

    group: pulumi.Input[str]
    server: pulumi.Input[str]
    rules: Mapping[str, FirewallRule]
    after: Sequence[pulumi.Resource]


class Firewall(Component):
    """Firewall rules, one after the other; `done` ends with the last of them."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("Firewall", name, opts)
        self.done = list(args.after)
        for rule, addresses in sorted(args.rules.items()):
            self.done.append(
                azure.FirewallRule(
                    f"{name}-{rule}",
                    resource_group_name=args.group,
                    server_name=args.server,
                    firewall_rule_name=rule,
                    start_ip_address=addresses.start,
                    end_ip_address=addresses.end,
                    opts=self.in_turn(self.done),
                )
            )
        self.register_outputs({"rules": sorted(args.rules)})


@dataclass(frozen=True, slots=True)
class AdministratorsArgs:
    """The Entra administrators of a server; `after` is what must be done before the first one."""

    group: pulumi.Input[str]
    server: pulumi.Input[str]
    tenant_id: str
    admins: Sequence[EntraAdmin]
    after: Sequence[pulumi.Resource]


class Administrators(Component):
    """Entra administrators, one after the other; `done` ends with the last of them.

    They come before databases: with Entra authentication only, a database made earlier would belong to
    Azure's own superuser.
    """

    def __init__(
        self, name: str, args: AdministratorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("Administrators", name, opts)
        self.done = list(args.after)
        for admin in args.admins:
            self.done.append(
                azure.AdministratorsMicrosoftEntra(
                    f"{name}-{admin.object_id}",
                    resource_group_name=args.group,
                    server_name=args.server,
                    object_id=admin.object_id,
                    principal_name=admin.name,
                    principal_type=admin.type,
                    tenant_id=args.tenant_id,
                    opts=self.in_turn(self.done),
                )
            )
        self.register_outputs({"admins": [admin.name for admin in args.admins]})
