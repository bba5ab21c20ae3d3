"""Virtual networks, private DNS zones and private endpoints."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import network as azure
from pulumi_azure_native import privatedns

from azpg_infra.component import LONG, Component
from azpg_infra.settings import Network

DELEGATION = "Microsoft.DBforPostgreSQL/flexibleServers"
INJECTED_ZONE = "private.postgres.database.azure.com"
ENDPOINT_ZONE = "privatelink.postgres.database.azure.com"
AI_ZONES = {
    "OpenAI": ("privatelink.openai.azure.com",),
    "AIServices": ("privatelink.cognitiveservices.azure.com", "privatelink.openai.azure.com"),
}
"""The private DNS zones of an AI account, by its kind."""


@dataclass(frozen=True, slots=True)
class VirtualNetworkArgs:
    """A virtual network with one subnet for servers and one for private endpoints."""

    group: pulumi.Input[str]
    location: str
    ranges: Network
    tags: dict[str, str]


class VirtualNetwork(Component):
    """A virtual network; the server's subnet is delegated to Flexible Servers."""

    def __init__(
        self, name: str, args: VirtualNetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("VirtualNetwork", name, opts)
        self.network = azure.VirtualNetwork(
            name,
            resource_group_name=args.group,
            virtual_network_name=name,
            location=args.location,
            address_space=azure.AddressSpaceArgs(address_prefixes=[args.ranges.address_space]),
            tags=args.tags,
            # The subnets are resources of their own: without this a refresh would see them here, too.
            opts=self.child(pulumi.ResourceOptions(ignore_changes=["subnets"])),
        )
        self.id: pulumi.Output[str] = self.network.id
        self.server_subnet = azure.Subnet(
            f"{name}-server",
            resource_group_name=args.group,
            virtual_network_name=self.network.name,
            subnet_name="server",
            address_prefix=args.ranges.server_subnet,
            delegations=[azure.DelegationArgs(name="flexible-server", service_name=DELEGATION)],
            opts=self.child(),
        )
        self.endpoint_subnet = azure.Subnet(
            f"{name}-endpoints",
            resource_group_name=args.group,
            virtual_network_name=self.network.name,
            subnet_name="endpoints",
            address_prefix=args.ranges.endpoint_subnet,
            private_endpoint_network_policies="Disabled",
            # One after the other: Azure refuses two changes of one network at once.
            opts=self.child(pulumi.ResourceOptions(depends_on=[self.server_subnet])),
        )
        self.register_outputs({"id": self.id})


@dataclass(frozen=True, slots=True)
class PrivateZoneArgs:
    """A private DNS zone and the network in which it is seen."""

    group: pulumi.Input[str]
    zone: pulumi.Input[str]
    network_id: pulumi.Input[str]
    tags: dict[str, str]


class PrivateZone(Component):
    """A private DNS zone, linked to a network; `ready` is what users of the zone must wait for."""

    def __init__(self, name: str, args: PrivateZoneArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("PrivateZone", name, opts)
        self.zone = privatedns.PrivateZone(
            name,
            resource_group_name=args.group,
            private_zone_name=args.zone,
            location="Global",
            tags=args.tags,
            opts=self.child(),
        )
        self.ready = privatedns.VirtualNetworkLink(
            f"{name}-link",
            resource_group_name=args.group,
            private_zone_name=self.zone.name,
            virtual_network_link_name="network",
            location="Global",
            registration_enabled=False,
            virtual_network=privatedns.SubResourceArgs(id=args.network_id),
            tags=args.tags,
            opts=self.child(),
        )
        self.id: pulumi.Output[str] = self.zone.id
        self.register_outputs({"id": self.id})


@dataclass(frozen=True, slots=True)
class PrivateEndpointArgs:
    """An endpoint for one resource.

    Attributes:
        target: the resource's id.
        group_id: which face of it, `postgresqlServer` or `account`.
        zones: where its name is entered.
        after: what must be done with the target before, because an endpoint is a change of it.
    """

    group: pulumi.Input[str]
    location: str
    subnet_id: pulumi.Input[str]
    target: pulumi.Input[str]
    group_id: str
    zones: tuple[PrivateZone, ...]
    after: tuple[pulumi.Resource, ...]
    tags: dict[str, str]


class PrivateEndpoint(Component):
    """A private endpoint, and its names in private DNS zones."""

    def __init__(
        self, name: str, args: PrivateEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("PrivateEndpoint", name, opts)
        self.endpoint = azure.PrivateEndpoint(
            name,
            resource_group_name=args.group,
            private_endpoint_name=name,
            location=args.location,
            subnet={
                "id": args.subnet_id
            },  # SubnetArgs would add settings of the subnet, which is not ours here
            private_link_service_connections=[
                azure.PrivateLinkServiceConnectionArgs(
                    name=args.group_id, private_link_service_id=args.target, group_ids=[args.group_id]
                )
            ],
            tags=args.tags,
            opts=self.in_turn(args.after, pulumi.ResourceOptions(custom_timeouts=LONG)),
        )
        self.names = azure.PrivateDnsZoneGroup(
            f"{name}-names",
            resource_group_name=args.group,
            private_endpoint_name=self.endpoint.name,
            private_dns_zone_group_name="default",
            private_dns_zone_configs=[
                azure.PrivateDnsZoneConfigArgs(name=f"zone{number}", private_dns_zone_id=zone.id)
                for number, zone in enumerate(args.zones)
            ],
            opts=self.child(pulumi.ResourceOptions(depends_on=[zone.ready for zone in args.zones])),
        )
        self.register_outputs({"id": self.endpoint.id})
