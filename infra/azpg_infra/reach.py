"""The network of a stack, as `networkMode` asks for it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from azpg_infra.component import Component
from azpg_infra.config import StackConfig
from azpg_infra.network import (
    AI_ZONES,
    ENDPOINT_ZONE,
    INJECTED_ZONE,
    PrivateEndpoint,
    PrivateEndpointArgs,
    PrivateZone,
    PrivateZoneArgs,
    VirtualNetwork,
    VirtualNetworkArgs,
)
from azpg_infra.server import Reach


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a server is made in, and how it is reached there."""

    group: pulumi.Input[str]
    config: StackConfig
    network: VirtualNetwork | None
    reach: Reach


def surroundings(config: StackConfig, *, group: pulumi.Input[str], server_name: str) -> Surroundings:
    """Makes the network that a server needs before it is made."""
    if config.network_mode == "public":
        return Surroundings(group, config, None, Reach())
    network = VirtualNetwork(
        "network",
        VirtualNetworkArgs(group=group, location=config.location, ranges=config.network, tags=config.tags),
    )
    if config.network_mode == "privateEndpoint":
        return Surroundings(group, config, network, Reach(public=False))
    zone = _zone(config, group, network, "server-zone", f"{server_name}.{INJECTED_ZONE}")
    reach = Reach(public=False, subnet_id=network.server_subnet.id, zone_id=zone.id, ready=(zone.ready,))
    return Surroundings(group, config, network, reach)


def server_endpoint(
    around: Surroundings, *, server_id: pulumi.Input[str], after: list[pulumi.Resource]
) -> list[Component]:
    """The server's private endpoint, if it is to have one."""
    if around.network is None or around.config.network_mode != "privateEndpoint":
        return []
    zone = _zone(around.config, around.group, around.network, "server-zone", ENDPOINT_ZONE)
    return [_endpoint(around, "server-endpoint", server_id, "postgresqlServer", (zone,), after)]


def ai_endpoint(
    around: Surroundings, *, account_id: pulumi.Input[str], after: list[pulumi.Resource]
) -> list[Component]:
    """The AI account's private endpoint, if it may not be called from the internet."""
    config = around.config
    if around.network is None or config.ai_public_access:
        return []
    zones = tuple(
        _zone(config, around.group, around.network, f"ai-zone{number}", zone)
        for number, zone in enumerate(AI_ZONES[config.ai_kind])
    )
    return [_endpoint(around, "ai-endpoint", account_id, "account", zones, after)]


def _zone(
    config: StackConfig, group: pulumi.Input[str], network: VirtualNetwork, name: str, zone: str
) -> PrivateZone:
    return PrivateZone(name, PrivateZoneArgs(group=group, zone=zone, network_id=network.id, tags=config.tags))


def _endpoint(
    around: Surroundings,
    name: str,
    target: pulumi.Input[str],
    group_id: str,
    zones: tuple[PrivateZone, ...],
    after: list[pulumi.Resource],
) -> PrivateEndpoint:
    assert around.network is not None
    return PrivateEndpoint(
        name,
        PrivateEndpointArgs(
            group=around.group,
            location=around.config.location,
            subnet_id=around.network.endpoint_subnet.id,
            target=target,
            group_id=group_id,
            zones=zones,
            after=tuple(after),
            tags=around.config.tags,
        ),
    )
